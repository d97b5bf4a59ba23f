import type { IssuerOptions, KeyOrigin } from '../auth/issuer.ts'
import { parsePublicKeys, parseSecret, type TokenAlgorithm, type VerifyKey } from '../auth/keys.ts'
import { BridgeError } from '../errors.ts'
import { type Contradiction, digestsOf, type HeldSecret } from './checks.ts'
import { readText } from './file.ts'
import type { Values } from './reference.ts'
import { type Setting, withoutLineEnd } from './sources.ts'

/** How the tokens of services are checked, which may use the ingress. */
export interface ServiceJwtConfig {
  readonly keys: readonly KeyOrigin[]
  /** Empty: all that the keys allow. */
  readonly algorithms: readonly TokenAlgorithm[]
  readonly issuer?: string
  readonly audience: string
  readonly scopeClaim: string
  readonly clockToleranceMs: number
}

interface Reading {
  readonly config?: ServiceJwtConfig
  readonly contradictions: readonly Contradiction[]
  readonly secrets: readonly HeldSecret[]
}

const sources = ['SERVICE_JWT_SECRET', 'SERVICE_JWT_PUBLIC_KEY', 'SERVICE_JWT_JWKS_URL'] as const
const others = ['SERVICE_JWT_SECRET_ENCODING', 'SERVICE_JWT_ISSUER', 'SERVICE_JWT_AUDIENCE', 'SERVICE_JWT_SCOPE_CLAIM'] as const

/** A login must never publish and a service never be a browser, whoever signs their tokens: they differ in the audience at least. */
export function readServiceJwt(values: Values, settings: ReadonlyMap<string, Setting>, logins: readonly IssuerOptions[]): Reading {
  const nothing: Reading = { contradictions: [], secrets: [] }
  const [source, second] = sources.filter((name) => settings.has(name))
  if (source === undefined) {
    const idle = others.find((name) => settings.has(name))
    if (idle === undefined) return nothing
    const detail = 'is of no use without keys: give SIDECAST_SERVICE_JWT_SECRET, SIDECAST_SERVICE_JWT_PUBLIC_KEY or SIDECAST_SERVICE_JWT_JWKS_URL'
    return { ...nothing, contradictions: [{ name: idle, also: sources, detail }] }
  }
  if (second !== undefined)
    return {
      ...nothing,
      contradictions: [
        { name: source, detail: `stands beside SIDECAST_${second}, and they exclude each other: give one source of keys`, certain: true },
      ],
    }
  const read = readKeys(source, values, settings.get(source)?.path)
  if ('problem' in read) return { ...nothing, contradictions: [{ name: source, also: ['SERVICE_JWT_SECRET_ENCODING'], detail: read.problem }] }
  const { SERVICE_JWT_ISSUER: issuer, SERVICE_JWT_AUDIENCE: audience, SERVICE_JWT_SCOPE_CLAIM: scopeClaim } = values
  const contradiction = checkAudience(source, read, audience, logins)
  return {
    contradictions: contradiction === undefined ? [] : [contradiction],
    // The key may be that of the logins, under another audience; nobody else's.
    secrets: read.keys
      .filter(({ key }) => key.type === 'secret' && !logins.some(({ keys }) => keysOf(keys).some((login) => login.key.equals(key))))
      .map(({ key }) => ({ name: source, as: `SIDECAST_${source}`, digests: digestsOf(key.export(), values.SERVICE_JWT_SECRET ?? '') })),
    ...(audience === undefined
      ? {}
      : {
          config: {
            keys: [read.origin],
            algorithms: [],
            ...(issuer === undefined ? {} : { issuer }),
            audience,
            scopeClaim,
            clockToleranceMs: values.JWT_CLOCK_TOLERANCE,
          },
        }),
  }
}

type Keys = { readonly origin: KeyOrigin; readonly keys: readonly VerifyKey[] } | { readonly problem: string }

function readKeys(source: (typeof sources)[number], values: Values, path: string | undefined): Keys {
  try {
    switch (source) {
      case 'SERVICE_JWT_SECRET': {
        const read = (text: string): readonly VerifyKey[] => [parseSecret(text, values.SERVICE_JWT_SECRET_ENCODING)]
        const keys = read(values.SERVICE_JWT_SECRET ?? '')
        return { keys, origin: path === undefined ? { kind: 'fixed', keys } : { kind: 'file', path, parse: (text) => read(withoutLineEnd(text)) } }
      }
      case 'SERVICE_JWT_PUBLIC_KEY': {
        const keys = values.SERVICE_JWT_PUBLIC_KEY ?? []
        return { keys, origin: path === undefined ? { kind: 'fixed', keys } : { kind: 'file', path, parse: parsePublicKeys } }
      }
      case 'SERVICE_JWT_JWKS_URL':
        return { keys: [], origin: { kind: 'jwks', url: values.SERVICE_JWT_JWKS_URL ?? '' } }
      default:
        return source satisfies never
    }
  } catch (error) {
    if (error instanceof BridgeError) return { problem: error.message.replaceAll('SIDECAST_JWT_', 'SIDECAST_SERVICE_JWT_') }
    throw error
  }
}

function checkAudience(
  source: (typeof sources)[number],
  service: Exclude<Keys, { readonly problem: string }>,
  audience: string | undefined,
  logins: readonly IssuerOptions[],
): Contradiction | undefined {
  if (audience === undefined)
    return { name: 'SERVICE_JWT_AUDIENCE', also: [source], detail: `is needed with SIDECAST_${source}: it tells the tokens of services from logins` }
  const same = logins.find(({ audiences }) => audiences.includes(audience))
  if (same !== undefined || audience === 'sidecast:room')
    return {
      name: 'SERVICE_JWT_AUDIENCE',
      also: ['JWT_AUDIENCE'],
      detail: `is ${same === undefined ? 'the audience of tokens that open one room' : `also an audience of the logins of ${same.name}`}: give the tokens of services one of their own`,
    }
  const shared = logins.find((login) => login.audiences.length === 0 && login.keys.some((origin) => isSame(origin, service)))
  if (shared === undefined) return undefined
  const cure = `set ${shared.name === 'login' ? 'SIDECAST_JWT_AUDIENCE' : `audience in the issuer ${shared.name}`}, or give services a key of their own`
  return { name: source, also: ['JWT_AUDIENCE'], detail: `holds the key of the logins of ${shared.name}, whose audience is not checked: ${cure}` }
}

/** As they are now; those that come over the net are not known yet. */
const keysOf = (origins: readonly KeyOrigin[]): readonly VerifyKey[] =>
  origins.flatMap((origin) => {
    if (origin.kind === 'fixed') return origin.keys
    const text = origin.kind === 'file' ? readText(origin.path) : undefined
    return origin.kind === 'file' && text?.readable === true ? origin.parse(text.content) : []
  })

function isSame(login: KeyOrigin, { origin, keys }: Exclude<Keys, { readonly problem: string }>): boolean {
  if (login.kind === 'jwks') return origin.kind === 'jwks' && origin.url === login.url
  if (login.kind === 'oidc') return origin.kind === 'jwks' && origin.url.startsWith(login.issuer)
  return keysOf([login]).some((own) => keys.some(({ key }) => own.key.equals(key)))
}
