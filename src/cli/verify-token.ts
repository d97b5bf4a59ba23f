import { text } from 'node:stream/consumers'
import { claimAt, fillFrom, ownRoom } from '../auth/claims.ts'
import type { IssuerOptions } from '../auth/issuer.ts'
import { loadConfig } from '../config/config.ts'
import type { Identity } from '../core/identity.ts'
import { BridgeError } from '../errors.ts'
import { type Command, misuse, parseCall, refuseWords } from './command.ts'
import { type Check, examine } from './token-checks.ts'

export const verifyToken: Command = {
  name: 'verify-token',
  summary: 'says whether a login token would be accepted, and why not',
  help: `sidecast verify-token TOKEN [--config sidecast.yaml] [flags of serve]

Checks a login token as a running bridge with this configuration would: prints what the token says, the outcome of each check with
what to do about it, and the user, the rooms with what each comes from, and the expiry. The token is sent nowhere; keys that the issuer
publishes are fetched. Whether it has been revoked is not looked at: the running bridge alone knows (GET /v1/revocations).

  TOKEN   the token, or - to read it from standard input, which keeps it out of the shell's history

Exit code: 0 accepted, 1 refused, 2 the call or the configuration is wrong.`,
  async run({ args, env, cwd }) {
    const call = parseCall(args, {})
    const { jwt, http, backend } = loadConfig({ args: call.configArgs, env, cwd })
    const [word, ...surplus] = call.words
    if (word === undefined) throw misuse('TOKEN is missing: sidecast verify-token TOKEN, or - to read it from standard input')
    refuseWords(surplus)
    if (jwt.issuers.length === 0)
      throw new BridgeError(
        'invalid_config',
        'no issuer of login tokens is configured: the application decides on logins (SIDECAST_AUTHORIZE_CONNECT_URL, SIDECAST_INTROSPECTION_URL)',
      )
    const token = (word === '-' ? await text(process.stdin) : word).trim()

    const reservedAudiences = http.serviceJwt === undefined ? [] : [http.serviceJwt.audience]
    const { checks, identity, refusals, issuer } = await examine(token, { issuers: jwt.issuers, reservedAudiences, now: Date.now })
    const content = decode(token)
    const lines = [
      'The token says',
      ...(content === undefined ? ['  nothing that can be read'] : describe(content, issuer)),
      'Checks',
      ...checks.flatMap(toLines),
      ...(identity === undefined ? [`Refused: ${refusals.join(', ')}`] : summarize(identity, explainRooms(content?.claims ?? {}, identity, issuer))),
      ...(backend?.connectUrl === undefined && backend?.introspection === undefined
        ? []
        : ['The application is asked about logins as well; that is not tried here.']),
    ]
    for (const line of lines) console.log(printable(line))
    return identity === undefined ? 1 : 0
  },
}

/** What a token says, whoever wrote it. */
interface Content {
  readonly header: Readonly<Record<string, unknown>>
  readonly claims: Readonly<Record<string, unknown>>
}

/** Decodes without any check; undefined when there is nothing to decode. */
function decode(token: string): Content | undefined {
  const [header, claims] = token
    .split('.')
    .slice(0, 2)
    .map((part) => toRecord(Buffer.from(part, 'base64url').toString()))
  return header === undefined || claims === undefined ? undefined : { header, claims }
}

function toRecord(json: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(json)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : undefined
  } catch {
    return undefined
  }
}

const line = (title: string, value: string): string => `  ${title.padEnd(10)}  ${value}`

function describe({ header, claims }: Content, issuer: IssuerOptions | undefined): readonly string[] {
  const said = (value: unknown): string => (value === undefined ? '–' : JSON.stringify(value))
  return [
    line('alg', said(header.alg)),
    line('typ', said(header.typ)),
    line('kid', said(header.kid)),
    line('iss', said(claims.iss)),
    line('aud', said(claims.aud)),
    ...['iat', 'nbf', 'exp'].map((name) => line(name, typeof claims[name] === 'number' ? toMoment(claims[name] * 1000) : said(claims[name]))),
    ...(issuer === undefined ? [] : [line('user', userIn(claims, issuer.userClaims)), line('rooms', said(claimAt(claims, issuer.roomsClaim)))]),
    line('claims', Object.keys(claims).join(', ')),
  ]
}

function userIn(claims: Content['claims'], userClaims: readonly string[]): string {
  const name = userClaims.find((path) => (claimAt(claims, path) ?? undefined) !== undefined)
  return name === undefined ? `none in ${userClaims.join(' or ')}` : `${JSON.stringify(claimAt(claims, name))} in ${name}`
}

function toLines({ title, outcome, detail, cures }: Check): readonly string[] {
  return [line(title, `${outcome}  ${detail}`.trimEnd()), ...cures.map((cure) => line('', `-> ${cure}`))]
}

/** By what each room is joined, and what the templates left out. */
function explainRooms(claims: Content['claims'], { user, rooms }: Identity, issuer: IssuerOptions | undefined): readonly string[] {
  const [own, ...templates] = [ownRoom, ...(issuer?.roomTemplates ?? [])].map((template) => ({ template, ...fillFrom(claims, user, template) }))
  const named = claimAt(claims, issuer?.roomsClaim ?? '')
  const byTemplate = (room: string): string | undefined => templates.find((made) => made.rooms.includes(room))?.template
  const origin = (room: string): string => {
    if (own?.rooms.includes(room)) return 'always'
    if (Array.isArray(named) && named.map(String).includes(room)) return `the claim ${issuer?.roomsClaim}`
    return `the template ${byTemplate(room)}`
  }
  return [
    ...rooms.map((room) => line('', `${room}  (${origin(room)})`)),
    ...templates.flatMap(({ template, skipped }) =>
      skipped.map(({ value, reason }) => line('', `no room by ${template}: ${JSON.stringify(value)} ${reason}`)),
    ),
  ]
}

function summarize({ user, rooms, grants, expiresAt }: Identity, explanation: readonly string[]): readonly string[] {
  return [
    'Accepted',
    line('user', JSON.stringify(user)),
    line('rooms', `${rooms.join(', ')} at connect`),
    ...explanation,
    line('may join', [...grants.map((parts) => parts.join('')), ...rooms].join(', ')),
    line('expires', expiresAt === undefined ? 'never' : toMoment(expiresAt)),
    line('revoked', 'not looked at here: the running bridge alone knows (GET /v1/revocations)'),
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
