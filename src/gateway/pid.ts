import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from 'node:crypto'

/**
 * The `pid` of the Socket.IO protocol: names a session to the server that issued it, and to nobody else.
 * Bound to the user, so that whoever steals one can do nothing with it under another login; bound to the epoch by its secret.
 */
export interface Pids {
  issue(session: string, user: string): string
  /** The session, or undefined when this is no pid of ours for this user. */
  read(pid: string, user: string): string | undefined
}

/** `log`: whose secret it is, which may become another one with the epoch. */
export function createPids(log: { readonly epoch: string; readonly secret: Uint8Array }): Pids {
  let key: { readonly epoch: string; readonly secret: KeyObject } | undefined
  const mac = (session: string, user: string): Buffer => {
    const { epoch } = log
    // Node takes longer to make a key than to use it.
    if (key?.epoch !== epoch) key = { epoch, secret: createSecretKey(log.secret) }
    return createHmac('sha256', key.secret).update(`pid\n${session}\n${user}`).digest().subarray(0, 16)
  }
  return {
    issue: (session, user) => `${session}.${mac(session, user).toString('base64url')}`,
    read(pid, user) {
      const dot = pid.indexOf('.')
      const session = pid.slice(0, Math.max(dot, 0))
      const claimed = Buffer.from(pid.slice(dot + 1), 'base64url')
      const expected = mac(session, user)
      return claimed.length === expected.length && timingSafeEqual(claimed, expected) ? session : undefined
    },
  }
}
