import jwt from 'jsonwebtoken'
import { toIdentity } from '../auth/claims.ts'
import { loadConfig } from '../config/config.ts'
import { parseDuration, splitList } from '../config/values.ts'
import { BridgeError } from '../errors.ts'
import { type Command, misuse, parseCall, refuseWords } from './command.ts'

type Claims = Record<string, unknown>

export const token: Command = {
  name: 'token',
  summary: 'signs a login token, for development',
  help: `sidecast token --user 42 [--rooms a,b] [--ttl 1h] [--config sidecast.yaml] [flags of serve]

Prints a login token for a user, signed with SIDECAST_JWT_SECRET, as the application would issue it: with the issuer, the audience and
the claims that the configuration asks for. With a public key only the application can sign.

  --user    whose token it is
  --rooms   rooms to be joined at connect; order:* and order:** allow joining on request
  --ttl     how long it is valid: 30s, 5m, 1h (the default), 7d

  TOKEN=$(sidecast token --user 42 --rooms news) && sidecast verify-token "$TOKEN"`,
  async run({ args, env, cwd }) {
    const call = parseCall(args, { texts: ['user', 'rooms', 'ttl'] })
    const { signing } = loadConfig({ args: call.configArgs, env, cwd }).jwt
    refuseWords(call.words)
    const user = call.text('user')
    if (user === undefined) throw misuse('--user is missing: sidecast token --user 42')
    if (signing === undefined) throw misuse('a public key cannot sign: ask your application for a token, or configure SIDECAST_JWT_SECRET')
    const { issuer } = signing
    const rooms = splitList(call.text('rooms') ?? '')
    const issuedAt = Math.floor(Date.now() / 1000)
    const [userClaim = 'sub'] = issuer.userClaims

    const claims: Claims = { iat: issuedAt, exp: issuedAt + Math.ceil(parseTtl(call.text('ttl') ?? '1h') / 1000) }
    const [iss] = issuer.issuers
    const [aud] = issuer.audiences
    if (iss !== undefined) claims.iss = iss
    if (aud !== undefined) claims.aud = aud
    put(claims, userClaim, user)
    if (rooms.length > 0) put(claims, issuer.roomsClaim, rooms)
    checkClaims(() => toIdentity(claims, issuer))
    console.log(jwt.sign(claims, signing.secret, { algorithm: signing.algorithm }))
    return 0
  },
}

function parseTtl(text: string): number {
  try {
    return parseDuration(text, { min: '1s', max: '365d' })
  } catch (error) {
    throw error instanceof BridgeError ? misuse(`--ttl ${error.message}`) : error
  }
}

/** What the bridge would refuse is not signed. */
function checkClaims(read: () => unknown): void {
  try {
    read()
  } catch (error) {
    throw error instanceof BridgeError ? misuse(`${error.message} (--user, --rooms)`) : error
  }
}

/** Sets a claim by its dotted path; the names of URL-named claims are taken as a whole. */
function put(claims: Claims, path: string, value: unknown): void {
  const dot = path.includes('/') ? -1 : path.indexOf('.')
  if (dot < 0) {
    claims[path] = value
    return
  }
  const key = path.slice(0, dot)
  const inner: Claims = { ...(claims[key] as Claims | undefined) }
  put(inner, path.slice(dot + 1), value)
  claims[key] = inner
}
