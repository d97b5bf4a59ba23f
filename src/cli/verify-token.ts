import { text } from 'node:stream/consumers'
import { toIdentity } from '../auth/claims.ts'
import type { TokenOptions } from '../auth/tokens.ts'
import { loadConfig } from '../config/config.ts'
import type { Identity } from '../core/identity.ts'
import { BridgeError } from '../errors.ts'
import { type Command, misuse, parseCall, refuseWords } from './command.ts'
import { type Check, type Content, decode, examine } from './token-checks.ts'

export const verifyToken: Command = {
  name: 'verify-token',
  summary: 'says whether a login token would be accepted, and why not',
  help: `sidecast verify-token TOKEN [--config sidecast.yaml] [flags of serve]

Checks a login token as a running bridge with this configuration would: prints what the token says, the outcome of each check with
what to do about it, and the user, the rooms and the expiry that result. Nothing is sent anywhere.

  TOKEN   the token, or - to read it from standard input, which keeps it out of the shell's history

Exit code: 0 accepted, 1 refused, 2 the call or the configuration is wrong.`,
  async run({ args, env, cwd }) {
    const call = parseCall(args, {})
    const options: TokenOptions = { ...loadConfig({ args: call.configArgs, env, cwd }).jwt, now: Date.now }
    const [word, ...surplus] = call.words
    if (word === undefined) throw misuse('TOKEN is missing: sidecast verify-token TOKEN, or - to read it from standard input')
    refuseWords(surplus)
    const token = (word === '-' ? await text(process.stdin) : word).trim()

    const content = decode(token)
    const { checks, identity, refusals } = await examine(token, options)
    const lines = [
      'The token says',
      ...(content === undefined ? ['  nothing that can be read'] : describe(content, options)),
      'Checks',
      ...checks.flatMap(toLines),
      ...(identity === undefined ? [`Refused: ${refusals.join(', ')}`] : summarize(identity)),
    ]
    for (const line of lines) console.log(printable(line))
    return identity === undefined ? 1 : 0
  },
}

const line = (title: string, value: string): string => `  ${title.padEnd(10)}  ${value}`

function describe({ header, claims }: Content, options: TokenOptions): readonly string[] {
  const said = (value: unknown): string => (value === undefined ? '–' : JSON.stringify(value))
  return [
    line('alg', said(header.alg)),
    line('kid', said(header.kid)),
    line('iss', said(claims.iss)),
    line('aud', said(claims.aud)),
    ...['iat', 'nbf', 'exp'].map((name) => line(name, typeof claims[name] === 'number' ? toMoment(claims[name] * 1000) : said(claims[name]))),
    line('user', userIn(claims, options)),
    line('rooms', said(claims[options.roomsClaim])),
    line('claims', Object.keys(claims).join(', ')),
  ]
}

function userIn(claims: Content['claims'], options: TokenOptions): string {
  try {
    return `${JSON.stringify(toIdentity({ ...claims }, { ...options, roomsClaim: '' }).user)} in ${options.userClaims.join(' or ')}`
  } catch (error) {
    if (error instanceof BridgeError) return `none in ${options.userClaims.join(' or ')}`
    throw error
  }
}

function toLines({ title, outcome, detail, cure }: Check): readonly string[] {
  return [line(title, `${outcome}  ${detail}`.trimEnd()), ...(cure === undefined ? [] : [line('', `-> ${cure}`)])]
}

function summarize({ user, rooms, grants, expiresAt }: Identity): readonly string[] {
  return [
    'Accepted',
    line('user', JSON.stringify(user)),
    line('rooms', rooms.length === 0 ? 'none at connect' : `${rooms.join(', ')} at connect`),
    line('may join', [...grants.map((parts) => parts.join('')), ...rooms].join(', ') || 'nothing'),
    line('expires', expiresAt === undefined ? 'never' : toMoment(expiresAt)),
  ]
}

/** A time, and how far away it is. */
function toMoment(time: number): string {
  if (!(Math.abs(time) <= 8.64e15)) return `${time / 1000}, which is no date`
  const seconds = Math.round((time - Date.now()) / 1000)
  const distance = toDistance(Math.abs(seconds))
  return `${new Date(time).toISOString()} (${seconds < 0 ? `${distance} ago` : `in ${distance}`})`
}

function toDistance(seconds: number): string {
  const units = [
    ['d', 86_400],
    ['h', 3600],
    ['m', 60],
  ] as const
  const [unit, length] = units.find(([, length]) => seconds >= length) ?? ['s', 1]
  return `${Math.floor(seconds / length)}${unit}`
}

/** A token is anybody's text: what would steer a terminal is shown as its code. */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) => `\\u${character.codePointAt(0)?.toString(16).padStart(4, '0')}`)
}
