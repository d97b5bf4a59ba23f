import { createHmac, timingSafeEqual } from 'node:crypto'

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
export function createPids(log: { readonly secret: Uint8Array }): Pids {
  const mac = (session: string, user: string): Buffer => createHmac('sha256', log.secret).update(`pid\n${session}\n${user}`).digest().subarray(0, 16)
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
