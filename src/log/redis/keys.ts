/** The keys of one log. One hash tag, so that a cluster keeps them in one slot. */
export interface LogKeys {
  /** Hash: what the log is, see `meta.ts`. */
  readonly meta: string
  /** Stream: the entries that are kept. */
  readonly log: string
  /** Stream: volatile events, for seconds. Their positions are of the same order. */
  readonly volatile: string
  /** Stream: what proves that the way through Redis is open. */
  readonly canary: string
  /** Hash: member and room -> the last word about them. */
  readonly members: string
  /** Sorted set: the fields of `members` that are of sessions, by name. */
  readonly sessions: string
  /** Hash: id -> position and entry. */
  readonly revocations: string
  /** Hash: node -> when it was last there; one that closes in order takes itself out. */
  readonly writers: string
  /** For trying out what may be done. */
  readonly probe: string
  /** String: something that nodes remember together, for a while. */
  remembered(name: string): string
  /** String: the number and the result of a node's last group. */
  writer(id: string): string
  /** String: position and digest of the event that had an id first. */
  id(key: Buffer): Buffer
}

export function logKeys(prefix: string): LogKeys {
  const key = (name: string): string => `{${prefix}}:${name}`
  const idPrefix = Buffer.from(key('id:'))
  return {
    meta: key('meta'),
    log: key('log'),
    volatile: key('volatile'),
    canary: key('canary'),
    members: key('members'),
    sessions: key('sessions'),
    revocations: key('revocations'),
    writers: key('writers'),
    probe: key('probe'),
    remembered: (name) => key(`seen:${name}`),
    writer: (id) => key(`writer:${id}`),
    id: (name) => Buffer.concat([idPrefix, name]),
  }
}
