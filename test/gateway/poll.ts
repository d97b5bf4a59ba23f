import { type IncomingHttpHeaders, request } from 'node:http'

export interface Answer {
  readonly status: number
  readonly body: string
  readonly headers: IncomingHttpHeaders
}

interface Call {
  readonly method?: string
  readonly body?: string
  readonly headers?: Readonly<Record<string, string | readonly string[]>>
  /** Of this machine, to call from. */
  readonly from?: string
}

/** One request of long-polling, by hand. */
export function poll(url: string, sid?: string, { method = 'GET', body, headers = {}, from }: Call = {}): Promise<Answer> {
  const path = `${url}/socket.io/?EIO=4&transport=polling${sid === undefined ? '' : `&sid=${sid}`}`
  return new Promise((resolve, reject) => {
    const call = request(path, {
      method,
      headers: headers as Record<string, string>,
      agent: false,
      ...(from === undefined ? {} : { localAddress: from }),
    })
    call.on('error', reject).on('response', (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: text, headers: response.headers }))
    })
    call.end(body)
  })
}

/** Opens a connection and says who it is; the answer of the server to that, or to the first request when it was refused. */
export async function pollLogin(url: string, auth: unknown, call: Call = {}): Promise<Answer> {
  const opened = await poll(url, undefined, call)
  if (opened.status !== 200) return opened
  const { sid } = JSON.parse(opened.body.slice(1)) as { readonly sid: string }
  await poll(url, sid, { ...call, method: 'POST', body: `40${JSON.stringify(auth)}` })
  return poll(url, sid, call)
}
