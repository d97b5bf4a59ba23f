import { BridgeError } from '../../errors.ts'
import { reasonOf } from '../log-condition.ts'
import { Overrun } from './overrun.ts'

/** What Redis answered instead of doing what it was asked. Nothing was done, and the connection is as good as before. */
export class Refused extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'Refused'
  }
}

interface Cure {
  readonly pattern: RegExp
  readonly reason: string
  /** It does not pass by itself: whoever starts is told at once. */
  readonly lasting?: true
}

// By the code that the answer begins with; Redis 6.2 puts that of a command in a script further behind, and later ones and Valkey have none for some of them.
const cures: readonly Cure[] = [
  {
    pattern: /^(WRONGPASS|NOAUTH|ERR AUTH|ERR Client sent AUTH|ERR invalid password)/,
    reason: 'Redis refuses the login: check the user and the password in SIDECAST_REDIS_URL',
    lasting: true,
  },
  {
    pattern: /(^|-)NOPERM|The user executing the script can't|ACL failure in script/,
    reason: 'the Redis user lacks a permission: give it the ACL of docs/scaling.md',
    lasting: true,
  },
  {
    pattern: /(^|-)WRONGTYPE/,
    reason: 'a key of the log holds something else: choose another SIDECAST_REDIS_PREFIX, or remove the key',
    lasting: true,
  },
  { pattern: /^(ERR DB index|ERR SELECT)/, reason: 'Redis does not have the database of SIDECAST_REDIS_URL', lasting: true },
  {
    pattern: /^ERR unknown command|Unknown (Redis )?command called/i,
    reason: 'Redis does not know a command that is needed, or it was renamed: Redis 6.2 or Valkey, with all commands, is needed',
    lasting: true,
  },
  { pattern: /(^|-)OOM/, reason: 'Redis has reached its maxmemory: raise it, or lower SIDECAST_RETENTION_EVENTS or SIDECAST_RETENTION_AGE' },
  { pattern: /(^|-)READONLY/, reason: 'Redis is a read-only replica: let SIDECAST_REDIS_URL lead to the master, or name the sentinels in it' },
  { pattern: /^LOADING/, reason: 'Redis is loading its data' },
  { pattern: /(^|-)MASTERDOWN/, reason: 'Redis is a replica that has lost its master' },
  { pattern: /(^|-)NOREPLICAS/, reason: 'Redis does not have as many replicas as its min-replicas-to-write asks for' },
  { pattern: /(^|-)MISCONF/, reason: 'Redis cannot write to its disk and so refuses writes: look into its log' },
  { pattern: /^CLUSTERDOWN/, reason: 'the Redis cluster is down' },
  { pattern: /^BUSY/, reason: 'a script of somebody holds Redis up' },
]

// Those of Node and OpenSSL, by code.
const certificate = /^(DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_VERIFY_LEAF_SIGNATURE|UNABLE_TO_GET_ISSUER_CERT.*|CERT_.*)$/

/** What failed, for operators, with what cures it. `lasting`: trying again does not help. */
export function explain(error: unknown, where: string): { readonly reason: string; readonly lasting: boolean } {
  if (error instanceof BridgeError) return { reason: error.message, lasting: error.code === 'log_foreign' || error.code === 'log_read_only' }
  if (error instanceof Overrun) return { reason: error.message, lasting: false }
  const message = reasonOf(error)
  if (error instanceof Refused) {
    const cure = cures.find(({ pattern }) => pattern.test(message))
    return {
      reason: cure === undefined ? `Redis at ${where} refuses: ${message}` : `${cure.reason} (${where}: ${message})`,
      lasting: cure?.lasting ?? false,
    }
  }
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  if (certificate.test(code)) {
    return { reason: `the certificate of Redis at ${where} is not trusted (${code}): give its authority in SIDECAST_REDIS_CA`, lasting: true }
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return {
      reason: `the certificate of Redis at ${where} is for another name: write the name of the certificate in SIDECAST_REDIS_URL`,
      lasting: true,
    }
  }
  if (code.startsWith('ERR_SSL'))
    return { reason: `Redis at ${where} does not speak TLS as asked for (${code}): redis:// or rediss://?`, lasting: true }
  return { reason: `Redis at ${where} cannot be reached (${message})`, lasting: false }
}
