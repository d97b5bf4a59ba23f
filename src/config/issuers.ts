import type { KeyObject } from 'node:crypto'
import { resolve } from 'node:path'
import type { ClaimOptions } from '../auth/claims.ts'
import type { IssuerOptions, KeyOrigin } from '../auth/issuer.ts'
import { parseJwksFile } from '../auth/jwks.ts'
import { parsePublicKeys, parseSecret, secretAlgorithms, type TokenAlgorithm, type VerifyKey } from '../auth/keys.ts'
import { type Preset, presetOf } from '../auth/presets.ts'
import { BridgeError } from '../errors.ts'
import { readText } from './file.ts'
import type { IssuerValues } from './reference.ts'
import { type Setting, withoutLineEnd } from './sources.ts'

export type IssuerField = keyof IssuerValues

/** What is wrong between the settings of one issuer. `certain`: also when one of `also` cannot be read. */
interface IssuerProblem {
  readonly field: IssuerField
  readonly also?: readonly IssuerField[]
  readonly detail: string
  readonly certain?: boolean
}

export interface IssuerReading {
  /** Absent when there is no usable source of keys. */
  readonly issuer?: IssuerOptions
  readonly problems: readonly IssuerProblem[]
  /** The keys as far as they do not come over the net. */
  readonly keys: readonly VerifyKey[]
  /** The secret as it was written. */
  readonly secretText?: string
}

export interface IssuerInput {
  readonly name: string
  readonly values: IssuerValues
  /** How it was written: a default is not there. */
  readonly fields: ReadonlyMap<string, Setting>
  readonly clockToleranceMs: number
  /** What a setting is called where it is written: `SIDECAST_JWT_SECRET`, or `secret`. */
  readonly spell: (field: IssuerField) => string
}

/** In the order in which they are told. */
export const keyFields = ['SECRET', 'PUBLIC_KEY', 'JWKS_URL', 'OIDC_ISSUER', 'JWKS_FILE'] as const satisfies readonly IssuerField[]
type KeyField = (typeof keyFields)[number]

/** One issuer of login tokens from its settings, and all that contradicts in them. */
export function toIssuer(input: IssuerInput): IssuerReading {
  const { values, fields, spell } = input
  const [source, second] = keyFields.filter((field) => fields.has(field))
  if (source === undefined) return { problems: [], keys: [] }
  // Two ways to sign at once is how a public key ends up verifying what was "signed" with itself (RFC 8725 3.1).
  if (second !== undefined) return { problems: [{ field: source, detail: besideEachOther(source, second, spell), certain: true }], keys: [] }
  const origin = readKeys(source, input)
  if ('problem' in origin) return { problems: [{ field: source, also: ['SECRET_ENCODING'], detail: origin.problem }], keys: [] }
  const { keys } = origin
  const possible = origin.remote ? publicAlgorithms : keys.flatMap(({ algorithms }) => algorithms)
  const preset = values.PRESET === undefined ? undefined : presetOf(values.PRESET)
  const usual = preset?.algorithms.filter((algorithm) => possible.includes(algorithm))
  const expected = toExpectations(input)
  const problems = [
    checkAlgorithms(values.ALGORITHMS ?? [], possible, keys, source),
    usual?.length === 0 && values.ALGORITHMS === undefined ? presetProblem(input, preset, source) : undefined,
    checkAudience(input, expected.requiredClaims),
    values.AUDIENCE?.includes(roomTokenAudience)
      ? { field: 'AUDIENCE' as const, detail: `holds ${roomTokenAudience}, which is set aside for tokens that open one room` }
      : undefined,
  ].filter((problem) => problem !== undefined)
  return {
    problems,
    keys,
    ...(source === 'SECRET' ? { secretText: values.SECRET ?? '' } : {}),
    issuer: { ...expected, keys: [origin.origin], algorithms: values.ALGORITHMS ?? usual ?? [] },
  }
}

/** What the tokens of an issuer must say, whoever vouches for them. */
export function toExpectations(input: Omit<IssuerInput, 'spell'>): Omit<IssuerOptions, 'keys' | 'algorithms'> {
  const { name, values, fields } = input
  const preset = values.PRESET === undefined ? undefined : presetOf(values.PRESET)
  return {
    ...toClaimOptions(input),
    name,
    issuers: values.ISSUER ?? (values.OIDC_ISSUER === undefined ? [] : [values.OIDC_ISSUER]),
    audiences: values.AUDIENCE ?? [],
    authorizedParties: values.AUTHORIZED_PARTY ?? [],
    types: values.TYPE ?? preset?.types ?? [],
    requiredClaims: values.REQUIRED_CLAIMS ?? preset?.requiredClaims ?? [],
    requireExp: values.REQUIRE_EXP,
    ...(values.MAX_LIFE === undefined ? {} : { maxLifeMs: values.MAX_LIFE }),
    numericStringDates: fields.has('NUMERIC_STRING_DATES') ? values.NUMERIC_STRING_DATES : preset?.numericStringDates === true,
  }
}

/** What is explicit wins over the preset, the preset over the default. */
function toClaimOptions({ values, fields, clockToleranceMs }: Pick<IssuerInput, 'values' | 'fields' | 'clockToleranceMs'>): ClaimOptions {
  const preset = values.PRESET === undefined ? undefined : presetOf(values.PRESET)
  return {
    userClaims: fields.has('USER_CLAIM') ? values.USER_CLAIM : (preset?.userClaims ?? values.USER_CLAIM),
    roomsClaim: values.ROOMS_CLAIM,
    roomTemplates: values.ROOM_TEMPLATES ?? preset?.roomTemplates ?? [],
    clockToleranceMs,
  }
}

/** What signs development tokens: a secret, with the first algorithm of it that is accepted. */
export interface SigningKey {
  readonly secret: KeyObject
  readonly algorithm: (typeof secretAlgorithms)[number]
}

export function signingKeyOf({ issuer, keys }: IssuerReading): SigningKey | undefined {
  const secret = keys.find(({ key }) => key.type === 'secret')?.key
  const wanted: readonly TokenAlgorithm[] = issuer?.algorithms.length === 0 ? secretAlgorithms : (issuer?.algorithms ?? [])
  const algorithm = wanted.map((one) => secretAlgorithms.find((known) => known === one)).find((one) => one !== undefined)
  return secret === undefined || algorithm === undefined ? undefined : { secret, algorithm }
}

const roomTokenAudience = 'sidecast:room'
const publicAlgorithms: readonly TokenAlgorithm[] = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
]

function besideEachOther(field: KeyField, second: KeyField, spell: IssuerInput['spell']): string {
  const others = `stands beside ${spell(second)}, and they exclude each other: give the one that your issuer signs with`
  return field === 'SECRET' ? others : `${others}. Several issuers stand in a configuration file (jwt.issuers)`
}

type Keys = { readonly origin: KeyOrigin; readonly keys: readonly VerifyKey[]; readonly remote: boolean } | { readonly problem: string }

function readKeys(source: KeyField, { values, fields }: IssuerInput): Keys {
  const path = fields.get(source)?.path
  try {
    switch (source) {
      case 'SECRET': {
        const parse = (text: string): readonly VerifyKey[] => [parseSecret(withoutLineEnd(text), values.SECRET_ENCODING)]
        const keys = [parseSecret(values.SECRET ?? '', values.SECRET_ENCODING)]
        return { keys, remote: false, origin: path === undefined ? { kind: 'fixed', keys } : { kind: 'file', path, parse } }
      }
      case 'PUBLIC_KEY': {
        const keys = values.PUBLIC_KEY ?? []
        return { keys, remote: false, origin: path === undefined ? { kind: 'fixed', keys } : { kind: 'file', path, parse: parsePublicKeys } }
      }
      case 'JWKS_FILE': {
        const file = resolve(fields.get(source)?.folder ?? '', values.JWKS_FILE ?? '')
        const text = readText(file)
        if (!text.readable) return { problem: `${file} ${text.reason}` }
        return { keys: parseJwksFile(text.content), remote: false, origin: { kind: 'file', path: file, parse: parseJwksFile } }
      }
      case 'JWKS_URL':
        return { keys: [], remote: true, origin: { kind: 'jwks', url: values.JWKS_URL ?? '' } }
      case 'OIDC_ISSUER':
        return { keys: [], remote: true, origin: { kind: 'oidc', issuer: values.OIDC_ISSUER ?? '' } }
      default:
        return source satisfies never
    }
  } catch (error) {
    if (error instanceof BridgeError) return { problem: error.message }
    throw error
  }
}

function checkAlgorithms(
  wanted: readonly TokenAlgorithm[],
  possible: readonly TokenAlgorithm[],
  keys: readonly VerifyKey[],
  source: KeyField,
): IssuerProblem | undefined {
  const unserved = wanted.filter((algorithm) => !possible.includes(algorithm))
  if (unserved.length === 0) return undefined
  const isPublic = keys.every(({ key }) => key.type === 'public')
  const detail =
    isPublic && unserved.every((algorithm) => algorithm.startsWith('HS'))
      ? `holds ${unserved.join(', ')} together with a public key, with which everybody could then sign: leave out HS*`
      : `holds ${unserved.join(', ')}, which no configured key can verify: the keys can verify ${[...new Set(possible)].join(', ')}`
  return { field: 'ALGORITHMS', also: [source, 'SECRET_ENCODING'], detail }
}

function presetProblem({ values, spell }: IssuerInput, preset: Preset | undefined, source: KeyField): IssuerProblem {
  const usual = preset?.algorithms.join(', ') ?? ''
  return {
    field: 'PRESET',
    also: [source],
    detail: `says ${values.PRESET}, which signs with ${usual}; what ${spell(source)} holds verifies none of them. Give its keys (${spell('OIDC_ISSUER')}, ${spell('JWKS_URL')} or ${spell('PUBLIC_KEY')}), or leave out the preset`,
  }
}

/** Access tokens of Cognito have no aud; with one asked for, none would ever be accepted. */
function checkAudience({ values, spell }: IssuerInput, required: readonly string[]): IssuerProblem | undefined {
  if (values.PRESET !== 'cognito' || values.AUDIENCE === undefined || !required.includes('token_use=access')) return undefined
  return {
    field: 'AUDIENCE',
    also: ['PRESET', 'REQUIRED_CLAIMS'],
    detail: `is set, and the access tokens of Cognito have no aud: name the app client in ${spell('AUTHORIZED_PARTY')} instead`,
  }
}
