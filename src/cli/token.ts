import { loadConfig } from '../config/config.ts'
import { parseDuration, splitList } from '../config/values.ts'
import { BridgeError } from '../errors.ts'
import { type Command, misuse, parseCall, refuseWords } from './command.ts'
import { signLogin } from './development-login.ts'

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
    const { maxLifeMs = Number.POSITIVE_INFINITY } = signing.issuer
    const ttl = call.text('ttl')
    const lifeMs = ttl === undefined ? Math.min(3_600_000, maxLifeMs) : parseTtl(ttl)
    if (lifeMs > maxLifeMs) throw misuse(`--ttl is longer than a token may live (SIDECAST_JWT_MAX_LIFE, ${maxLifeMs / 1000}s)`)
    const rooms = splitList(call.text('rooms') ?? '')
    console.log(sign(() => signLogin(signing, { user, rooms, lifeMs })))
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
function sign(make: () => string): string {
  try {
    return make()
  } catch (error) {
    throw error instanceof BridgeError ? misuse(`${error.message} (--user, --rooms)`) : error
  }
}
