import type { Duplex } from 'node:stream'
import type { Entry, Stored } from '../core/entry.ts'
import type { Appended } from '../core/event-log.ts'
import type { PeerLink, PeerListener, PresenceChange } from '../core/peers.ts'
import { BridgeError } from '../errors.ts'
import type { LogLink } from '../log/shared.ts'
import { Channel, type ChannelListener } from './channel.ts'
import type { ToParent, ToWorker } from './messages.ts'

/** What a worker does that its parent tells it. */
export type Order = Extract<ToWorker, { readonly kind: 'runs' | 'metrics' | 'beat' | 'drain' | 'stop' }>

interface Waiting {
  readonly resolve: (appended: readonly Appended[]) => void
  readonly reject: (error: BridgeError) => void
}

/** A worker's line to its parent: the log's, the presence's, and what the parent tells it to do. */
export class ParentLink implements LogLink, PeerLink, ChannelListener<ToWorker> {
  readonly #channel: Channel<ToWorker, ToParent>
  readonly #waiting = new Map<number, Waiting>()
  readonly #onOrder: (order: Order) => void
  readonly #behind = new Map<number, (caughtUp: boolean) => void>()
  #requests = 0
  #onEntries: ((entries: readonly Stored[]) => void) | undefined
  #peers: PeerListener | undefined

  constructor(stream: Duplex, onOrder: (order: Order) => void) {
    this.#onOrder = onOrder
    this.#channel = new Channel(stream, this)
  }

  tell(message: ToParent): void {
    this.#channel.send(message)
  }

  append(entries: readonly Entry[]): Promise<readonly Appended[]> {
    if (entries.length === 0) return Promise.resolve([])
    return new Promise((resolve, reject) => {
      const request = ++this.#requests
      this.#waiting.set(request, { resolve, reject })
      this.tell({ kind: 'append', request, entries })
    })
  }

  catchUp(offset: string): Promise<boolean> {
    return new Promise((resolve) => {
      const request = ++this.#requests
      this.#behind.set(request, resolve)
      this.tell({ kind: 'catch-up', request, offset })
    })
  }

  announce(changes: readonly PresenceChange[]): void {
    this.tell({ kind: 'presence', changes })
    // Before the clients are told: what they say to the backend must not be news to the parent.
    this.#channel.flush()
  }

  follow(listener: ((entries: readonly Stored[]) => void) | PeerListener): void {
    if (typeof listener === 'function') this.#onEntries = listener
    else this.#peers = listener
  }

  entries(entries: readonly Stored[]): void {
    this.#onEntries?.(entries)
  }

  message(message: ToWorker): void {
    switch (message.kind) {
      case 'appended':
        this.#take(message.request)?.resolve(message.appended)
        return
      case 'not-appended':
        this.#take(message.request)?.reject(new BridgeError(message.code, message.message))
        return
      case 'caught-up':
        this.#behind.get(message.request)?.(message.caughtUp)
        this.#behind.delete(message.request)
        return
      case 'presence':
        this.#peers?.changed(message.node, message.changes)
        return
      case 'gone':
        this.#peers?.gone(message.node)
        return
      case 'beat':
        this.#peers?.due()
        this.#onOrder(message)
        return
      case 'runs':
      case 'metrics':
      case 'drain':
      case 'stop':
        this.#onOrder(message)
        return
      default:
        message satisfies never
    }
  }

  #take(request: number): Waiting | undefined {
    const waiting = this.#waiting.get(request)
    this.#waiting.delete(request)
    return waiting
  }
}
