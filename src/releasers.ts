import type { Logger } from 'pino'

/** What has to be released, in reverse of the order in which it was built. */
export class Releasers {
  readonly #logger: Logger
  readonly #releasers: (() => Promise<void>)[] = []

  constructor(logger: Logger) {
    this.#logger = logger
  }

  add(releaser: () => Promise<void>): void {
    this.#releasers.push(releaser)
  }

  /** Never rejects: what cannot be released does not keep the others. */
  async release(): Promise<void> {
    for (const releaser of this.#releasers.splice(0).toReversed()) {
      await releaser().catch((error: unknown) => this.#logger.error({ err: error }, 'could not be released'))
    }
  }
}
