export interface PublishOrder {
  /** Of the private listener, or of the broker. */
  readonly url: string
  readonly key: string
  readonly mode: 'single' | 'batch' | 'ndjson' | 'amqp'
  readonly events: number
  /** The number of the first one. */
  readonly first: number
  /** Of each batch. */
  readonly batch: number
  /** Requests under way at once. */
  readonly connections: number
  /** Events a second, each with its moment, whatever became of those before it. Absent: as fast as they are answered. */
  readonly rate?: number
  /** Each event goes to the next user; each batch to the next room; or all to the one room. */
  readonly to: { readonly users: number } | { readonly rooms: number } | { readonly room: string }
  /** Bytes of text in each. */
  readonly bytes: number
  /** Absent: `tick`, which clients count. */
  readonly event?: string
  /** Of the broker. */
  readonly exchange?: string
}

/** What came of an order. */
export interface Publication {
  readonly accepted: number
  readonly refused: number
  /** Of the numbers of what was accepted. */
  readonly sum: number
  readonly startedAt: number
  /** Of processor time that the publisher has used for it. */
  readonly cpuSeconds: number
}

export type Accepted = Omit<Publication, 'refused' | 'cpuSeconds'>

export const toData = ({ bytes }: PublishOrder, number: number, dueAt: number): string =>
  `{"n":${number},"at":${dueAt},"text":"${'x'.repeat(bytes)}"}`

export function toEvent(order: PublishOrder, number: number, dueAt: number): string {
  const { to, event = 'tick', batch } = order
  const room = 'room' in to ? to.room : 'rooms' in to ? `room-${Math.floor(number / batch) % to.rooms}` : ''
  const target = 'users' in to ? `{"users":["${number % to.users}"]}` : `{"rooms":["${room}"]}`
  return `{"event":"${event}","data":${toData(order, number, dueAt)},"to":${target}}`
}
