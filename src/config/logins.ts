import type { IssuerOptions } from '../auth/issuer.ts'
import { type Contradiction, digestsOf, type HeldSecret } from './checks.ts'
import { readEntries, toKey } from './entries.ts'
import {
  type IssuerField,
  type IssuerInput,
  type IssuerReading,
  keyFields,
  type SigningKey,
  signingKeyOf,
  toExpectations,
  toIssuer,
} from './issuers.ts'
import { issuerSchema, type Values, type VariableName, variableNames } from './reference.ts'
import { entriesOf, type Problem, type Setting } from './sources.ts'

interface Logins {
  readonly issuers: readonly IssuerOptions[]
  readonly opaque: Omit<IssuerOptions, 'keys' | 'algorithms'>
  /** See `JwtConfig`. */
  readonly revocationAgeMs: number
  readonly signing?: SigningKey & { readonly issuer: IssuerOptions }
  readonly secrets: readonly HeldSecret[]
  /** Within `jwt.issuers`. */
  readonly problems: readonly Problem[]
  readonly contradictions: readonly Contradiction[]
}

/** Whose tokens are logins: the issuer that the variables describe, and those of `jwt.issuers`. `written`: what is well written, by variable. */
export function readLogins(settings: ReadonlyMap<string, Setting>, written: ReadonlyMap<string, unknown>, values: Values): Logins {
  const clockToleranceMs = values.JWT_CLOCK_TOLERANCE
  const own = ownInput(settings, written, clockToleranceMs)
  const listed = readEntries('JWT_ISSUERS', entriesOf(settings.get('JWT_ISSUERS')) ?? [], issuerSchema, ['SECRET', 'PUBLIC_KEY'])
  const login = toIssuer(own)
  const others = listed.entries.map(({ place, values: entry, fields }, index) => {
    const input: IssuerInput = { name: entry.NAME ?? `issuers[${index}]`, values: entry, fields, clockToleranceMs, spell: toKey }
    const reading = toIssuer(input)
    const missing = keyFields.some((field) => fields.has(field))
      ? []
      : [
          {
            field: 'NAME' as const,
            detail: `has no keys: give one of ${['secret', 'secretFile', ...keyFields.slice(1).map(toKey), 'publicKeyFile'].join(', ')}`,
          },
        ]
    const unnamed = entry.NAME === undefined ? [{ field: 'NAME' as const, detail: 'needs a name, for the log' }] : []
    const problems = [...reading.problems, ...missing, ...unnamed].map(
      ({ field, detail }): Problem => ({
        name: 'JWT_ISSUERS',
        origin: { kind: 'file', text: fields.has(field) && field !== 'NAME' ? `${place}.${toKey(field)}` : place },
        detail: inTheirWords(detail),
      }),
    )
    return { reading, problems }
  })
  const readings = [login, ...others.map(({ reading }) => reading)]
  const issuers = readings.map(({ issuer }) => issuer).filter((issuer) => issuer !== undefined)
  const signers = readings.flatMap((reading) => {
    const key = signingKeyOf(reading)
    return key === undefined || reading.issuer === undefined ? [] : [{ issuer: reading.issuer, ...key }]
  })
  const [signing] = signers
  const opaque = toExpectations(own)
  const lives = [...issuers, ...(settings.has('INTROSPECTION_URL') ? [opaque] : [])].map(({ maxLifeMs }) => maxLifeMs)
  // For how long the application stands by a login is its own affair: no limit for tokens says when the last one is over.
  const isBounded = lives.length > 0 && lives.every((life) => life !== undefined) && !settings.has('AUTHORIZE_CONNECT_URL')
  return {
    issuers,
    opaque,
    // The clock of the issuer may be ahead by the tolerance.
    revocationAgeMs: (isBounded ? Math.max(...lives.map((life) => life ?? 0)) : values.REVOCATION_AGE) + clockToleranceMs,
    ...(signing === undefined ? {} : { signing }),
    secrets: readings.flatMap((reading, index) => heldBy(reading, index === 0 ? 'JWT_SECRET' : 'JWT_ISSUERS')),
    problems: [...listed.problems, ...others.flatMap(({ problems }) => problems), ...checkApart(issuers)],
    contradictions: [
      ...login.problems.map(
        ({ field, also = [], detail, certain = false }): Contradiction => ({ name: nameOf(field), also: also.map(nameOf), detail, certain }),
      ),
      ...checkPresence(own, settings),
    ],
  }
}

const nameOf = (field: IssuerField): VariableName => variableNames.find((name) => name === `JWT_${field}`) ?? 'JWT_ISSUERS'

/** What parsers say of a variable, of its twin in a map. */
const inTheirWords = (detail: string): string =>
  detail.replace(/SIDECAST_JWT_([A-Z_]+)/g, (_, field: string) => toKey(field)).replace(/^(secret|publicKey) /, '')

function ownInput(settings: ReadonlyMap<string, Setting>, written: ReadonlyMap<string, unknown>, clockToleranceMs: number): IssuerInput {
  const fields = new Map<string, Setting>(
    issuerSchema.keyof().options.flatMap((field) => {
      const setting = settings.get(`JWT_${field}`)
      return setting === undefined ? [] : [[field, setting] as const]
    }),
  )
  const values = issuerSchema.parse(
    Object.fromEntries([...fields.keys()].filter((field) => written.has(`JWT_${field}`)).map((field) => [field, written.get(`JWT_${field}`)])),
  )
  return { name: 'login', values, fields, clockToleranceMs, spell: (field) => `SIDECAST_JWT_${field}` }
}

/** Settings without keys, and no keys at all. */
function checkPresence({ fields }: IssuerInput, settings: ReadonlyMap<string, Setting>): readonly Contradiction[] {
  if (keyFields.some((field) => fields.has(field) || settings.has(`JWT_${field}_FILE`))) return []
  const also = keyFields.map(nameOf)
  const isOther = (name: string): boolean => settings.has(name)
  if (isOther('INTROSPECTION_URL')) return []
  if (!isOther('JWT_ISSUERS') && !isOther('AUTHORIZE_CONNECT_URL'))
    return [
      {
        name: 'JWT_SECRET',
        also,
        detail:
          'is needed, or SIDECAST_JWT_PUBLIC_KEY, SIDECAST_JWT_JWKS_URL, SIDECAST_JWT_OIDC_ISSUER or SIDECAST_JWT_JWKS_FILE: the key of your application that login tokens are verified with. For logins that are no JWT: SIDECAST_AUTHORIZE_CONNECT_URL, or SIDECAST_INTROSPECTION_URL',
      },
    ]
  const idle = issuerSchema.keyof().options.find((field) => fields.has(field))
  const cure = isOther('JWT_ISSUERS') ? 'write it into the entries of jwt.issuers' : 'leave it out'
  return idle === undefined ? [] : [{ name: nameOf(idle), also, detail: `belongs to no issuer, since no SIDECAST_JWT_… gives a key: ${cure}` }]
}

/** A token must have one issuer that it can be of: keys are bound to their issuer and never pooled (RFC 8725 3.8). */
function checkApart(issuers: readonly IssuerOptions[]): readonly Problem[] {
  const problem = (detail: string): Problem => ({ name: 'JWT_ISSUERS', detail })
  const open = issuers.filter(({ issuers: accepted }) => accepted.length === 0)
  const problems =
    open.length > 1
      ? [problem(`${open.map(({ name }) => name).join(' and ')} take tokens of any iss: at most one may, give the others their issuer`)]
      : []
  for (const [index, { name, issuers: accepted }] of issuers.entries()) {
    for (const other of issuers.slice(0, index)) {
      if (other.name === name) problems.push(problem(`two issuers have the name ${name}`))
      const shared = accepted.find((one) => other.issuers.includes(one))
      if (shared !== undefined) problems.push(problem(`${other.name} and ${name} both take the iss ${shared}: whose keys would hold?`))
    }
  }
  return problems
}

function heldBy({ keys, secretText, issuer }: IssuerReading, name: VariableName): readonly HeldSecret[] {
  const secrets = keys.filter(({ key }) => key.type === 'secret')
  return secrets.map(({ key }) => ({
    name,
    as: name === 'JWT_SECRET' ? 'SIDECAST_JWT_SECRET' : `the secret of the issuer ${issuer?.name}`,
    digests: digestsOf(key.export(), ...(secretText === undefined ? [] : [secretText])),
  }))
}
