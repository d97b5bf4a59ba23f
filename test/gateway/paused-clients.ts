import { afterEach } from 'vitest'
import { apiKey, login } from '../support/bridge.ts'
import { openRaw, type RawClient } from './raw-client.ts'

const padding = 'x'.repeat(200_000)
export const users = ['slow 1', 'slow 2', 'slow 3', 'slow 4']
/** More than what the kernel takes for a client that does not read, and what may wait for it. */
export const mostPublished = 200

const raws: RawClient[] = []
afterEach(async () => {
  for (const raw of raws.splice(0)) await raw[Symbol.asyncDispose]()
})

/** Clients that have logged in and read nothing more. */
export async function openPaused({
  publicUrl,
}: {
  readonly publicUrl: string
}): Promise<readonly { readonly raw: RawClient; readonly pid: string }[]> {
  return Promise.all(
    users.map(async (user) => {
      const raw = await openRaw(publicUrl)
      raws.push(raw)
      const { pid } = await raw.login(login(user))
      raw.tcp.pause()
      return { raw, pid }
    }),
  )
}

export const publishPadded = ({ privateUrl }: { readonly privateUrl: string }, number: number): Promise<Response> =>
  fetch(`${privateUrl}/v1/events`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ event: 'n', data: [number, padding], to: { users: [...users, 'quick'] } }),
  })

/** Publishes until it is refused; returns how many were accepted, and the refusal. */
export async function publishUntilRefused(bridge: {
  readonly privateUrl: string
}): Promise<{ readonly accepted: number; readonly refusal: Response }> {
  for (let accepted = 0; accepted < mostPublished; accepted++) {
    const answer = await publishPadded(bridge, accepted)
    if (answer.status !== 202) return { accepted, refusal: answer }
    await answer.text()
  }
  throw new Error('nothing was refused')
}
