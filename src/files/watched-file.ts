import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { BridgeError } from '../errors.ts'

export interface WatchedFileOptions<T> {
  readonly path: string
  /** @throws BridgeError invalid_config with the cure */
  readonly parse: (text: string) => T
  readonly pollMs: number
  readonly onFailure: (error: unknown) => void
}

/**
 * What a file says, now and when it has changed. The text is read again and compared: that sees every way of replacing a file (written in place, renamed
 * over, a symbolic link of Kubernetes swapped somewhere in its path, a volume that tells nobody), which neither times nor events do.
 */
export class WatchedFile<T> {
  readonly #options: WatchedFileOptions<T>
  #value: T
  /** The text, or why there was none, that has been dealt with; and what was read last. The first time its writer may not be done: it counts when it is read twice. */
  #settled: string
  #seen: string
  #timer: NodeJS.Timeout | undefined

  /** Reads it once. @throws BridgeError invalid_config */
  constructor(options: WatchedFileOptions<T>) {
    this.#options = options
    try {
      this.#seen = this.#settled = readFileSync(options.path, 'utf8')
      this.#value = options.parse(this.#settled)
    } catch (cause) {
      throw new BridgeError('invalid_config', `${options.path} cannot be used: ${reasonOf(cause)}`, { cause })
    }
  }

  get value(): T {
    return this.#value
  }

  start(): void {
    // One poll after the other, so that none overtakes another on a slow disk.
    this.#timer = setTimeout(() => void this.#poll().then(() => this.#timer === undefined || this.start()), this.#options.pollMs)
    this.#timer.unref()
  }

  close(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  async #poll(): Promise<void> {
    const { path, parse, onFailure } = this.#options
    const found = await readFile(path, 'utf8').catch((error: unknown) => (error instanceof Error ? error : new Error(String(error))))
    const before = this.#seen
    this.#seen = String(found)
    if (this.#seen !== before || this.#seen === this.#settled) return
    this.#settled = this.#seen
    try {
      if (typeof found !== 'string') throw found
      this.#value = parse(found)
    } catch (cause) {
      onFailure(new BridgeError('invalid_config', `${path} cannot be used, its last good content stays in force: ${reasonOf(cause)}`, { cause }))
    }
  }
}

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
