import { createSecretKey } from 'node:crypto'
import { isSignedBy, type Jws } from '../auth/jws.ts'
import type { VerifyKey } from '../auth/keys.ts'

type Reading = { readonly cure: string; readonly read: (secret: Buffer) => Buffer | undefined }

const advice = (encoding: string): string =>
  `it is signed with this secret decoded from ${encoding}${encoding === 'base64' ? ', as jjwt does' : ''}: set SIDECAST_JWT_SECRET_ENCODING=${encoding}`

/** How an application may have read the same text. Nothing decodes what is not written so. */
const readings: readonly Reading[] = [
  { cure: advice('base64'), read: (secret) => decoded(secret, /^[A-Za-z0-9+/]+={0,2}$/, 'base64') },
  { cure: advice('base64url'), read: (secret) => decoded(secret, /^[A-Za-z0-9_-]+={0,2}$/, 'base64url') },
  { cure: advice('hex'), read: (secret) => decoded(secret, /^([0-9a-fA-F]{2})+$/, 'hex') },
  {
    cure: 'it is signed with this secret decoded from base64, without the base64: before it: leave that out and set SIDECAST_JWT_SECRET_ENCODING=base64',
    read: (secret) => (secret.toString().startsWith('base64:') ? decoded(secret.subarray(7), /^[A-Za-z0-9+/]+={0,2}$/, 'base64') : undefined),
  },
  {
    cure: 'it is signed with this secret and a line end after it: read the secret without its line end where the tokens are issued (echo -n, trim)',
    read: (secret) => Buffer.concat([secret, Buffer.from('\n')]),
  },
  {
    cure: 'it is signed with this secret without the line end or the spaces around it: leave them out of SIDECAST_JWT_SECRET',
    read: (secret) => Buffer.from(secret.toString().trim()),
  },
  {
    cure: 'it is signed with this secret without the quotes around it: leave them out of SIDECAST_JWT_SECRET',
    read: (secret) => (/^(["']).+\1$/s.test(secret.toString()) ? secret.subarray(1, -1) : undefined),
  },
  ...(['base64', 'base64url', 'hex'] as const).map(
    (encoding): Reading => ({
      cure: `it is signed with the text of this secret as it stands: leave out SIDECAST_JWT_SECRET_ENCODING=${encoding}`,
      read: (secret) => Buffer.from(secret.toString(encoding)),
    }),
  ),
]

function decoded(secret: Buffer, form: RegExp, encoding: 'base64' | 'base64url' | 'hex'): Buffer | undefined {
  const text = secret.toString()
  return form.test(text) ? Buffer.from(text, encoding) : undefined
}

/** Which other reading of the configured secrets does verify the token, and what to do about it. */
export function findOtherReading(jws: Jws, keys: readonly VerifyKey[]): string | undefined {
  const secrets = keys.filter(({ key }) => key.type === 'secret').map(({ key }) => key.export())
  const verifies = (read: Reading['read'], secret: Buffer): boolean => {
    const other = read(secret)
    // What reads as the secret itself is not another reading.
    return other !== undefined && other.length > 0 && !other.equals(secret) && isSignedBy(jws, createSecretKey(other))
  }
  return readings.find(({ read }) => secrets.some((secret) => verifies(read, secret)))?.cure
}
