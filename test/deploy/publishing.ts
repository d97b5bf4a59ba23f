import { setTimeout } from 'node:timers/promises'

/** Publishes the numbers from 0 on to everybody, one after the other, each until it is accepted. */
export interface Publishing {
  /** Ends it; resolves with how many were accepted, and how often one had to be repeated. */
  stop(): Promise<{ readonly accepted: number; readonly repeated: number }>
}

export function startPublishing({ privateUrl, apiKey }: { readonly privateUrl: string; readonly apiKey: string }, pauseMs: number): Publishing {
  let stopped = false
  let accepted = 0
  let repeated = 0
  const publish = async (): Promise<boolean> => {
    const response = await fetch(`${privateUrl}/v1/events`, {
      method: 'POST',
      headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
      // Under one id: whatever became of the first attempt, it is stored once.
      body: JSON.stringify({ event: 'numbered', data: accepted, to: { all: true }, id: `number-${accepted}` }),
    })
    const text = await response.text()
    if (response.status === 202) return true
    if (response.status !== 503) throw new Error(`${response.status}: ${text}`)
    return false
  }
  const run = async (): Promise<void> => {
    while (!stopped) {
      // A connection that was refused or broken is an answer that did not come.
      const done = await publish().catch((error: unknown) => {
        if (error instanceof TypeError) return false
        throw error
      })
      if (done) accepted++
      else repeated++
      await setTimeout(pauseMs)
    }
  }
  const running = run()
  running.catch(() => undefined)
  return {
    async stop() {
      stopped = true
      await running
      return { accepted, repeated }
    },
  }
}
