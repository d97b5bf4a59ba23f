import type { BridgeError, FieldError } from '../errors.ts'
import { isRawNumber } from './json.ts'
import { nameProblem, toName, tooLarge } from './name.ts'
import { type Revocation, revocationId } from './revocation.ts'
import { createShapeCheck, invalidBody } from './shape.ts'

/** Which tokens the application wants to be refused. Made only here. Times in milliseconds since 1970. */
export interface RevocationRequest {
  readonly user?: string
  readonly jti?: string
  readonly sid?: string
  readonly issuedBefore?: number
  readonly expiresAt?: number
}

/** The shape that the schema `RevocationRequest` of openapi.yaml has made sure of. */
interface RevocationBody {
  readonly user?: unknown
  readonly jti?: unknown
  readonly sid?: unknown
  readonly issuedBefore?: number | string
  readonly expiresAt?: number | string
}

/** From anything that an ingress took in to a request. @throws BridgeError invalid_revocation */
export type RevocationParser = (value: unknown) => RevocationRequest

/** The parser for the schema `RevocationRequest` of an OpenAPI 3.1 document; the one gate for revocations of every ingress. */
export function createRevocationParser(openapi: object): RevocationParser {
  const check = createShapeCheck<RevocationBody>(openapi, 'RevocationRequest', invalid)
  return (value) => toRequest(check(value))
}

function toRequest(body: RevocationBody): RevocationRequest {
  const errors: FieldError[] = []
  const read = <Value>(field: keyof RevocationBody, parse: (value: unknown) => Value | undefined, problem: (value: unknown) => string) => {
    const value = body[field]
    if (value === undefined) return {}
    const parsed = parse(value)
    if (parsed !== undefined) return { [field]: parsed }
    errors.push({ pointer: `/${field}`, detail: problem(value) })
    return {}
  }
  const request = {
    ...read('user', toName, nameProblem),
    ...read('jti', toTokenId, () => tooLarge),
    ...read('sid', toTokenId, () => tooLarge),
    ...read('issuedBefore', toTime, () => timeProblem),
    ...read('expiresAt', toTime, () => timeProblem),
  }
  const { user, jti, sid, issuedBefore } = body
  if ([user, jti, sid, issuedBefore].every((value) => value === undefined))
    errors.push({ pointer: '', detail: 'names no tokens: give user, jti, sid or issuedBefore, or several of them' })
  if (errors.length > 0) throw invalid(errors)
  return request
}

const invalid = (errors: readonly FieldError[]): BridgeError => invalidBody('invalid_revocation', 'the revocation', errors)

/** As a token has them: text, or a number, which counts as its decimal text. */
function toTokenId(value: unknown): string | undefined {
  if (typeof value === 'string') return value
  return typeof value === 'number' && Number.isSafeInteger(value) ? String(value) : undefined
}

const timeProblem = 'must be seconds or milliseconds since 1970, or a time as RFC 3339 writes it (2026-11-23T10:00:00Z), up to the year 9999'

/** The year 5138. Numbers beyond are milliseconds. */
const maxSeconds = 1e11
/** The end of the year 9999. */
const maxTime = 253_402_300_799_999

const rfc3339 = /^(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2}(?:\.\d+)?)([Zz]|[+-]\d{2}:\d{2})$/

/** Milliseconds since 1970. A part of one counts as a whole: what is meant to be refused is refused. */
function toTime(value: unknown): number | undefined {
  if (isRawNumber(value)) return undefined
  const time = typeof value === 'number' ? Math.ceil(value <= maxSeconds ? value * 1000 : value) : fromText(String(value))
  return time !== undefined && time >= 0 && time <= maxTime ? time : undefined
}

function fromText(text: string): number | undefined {
  const [, date, time, zone] = rfc3339.exec(text) ?? []
  if (date === undefined || time === undefined || zone === undefined) return undefined
  // The 30th of February would become a day in March.
  const day = Date.parse(`${date}T00:00:00Z`)
  if (Number.isNaN(day) || !new Date(day).toISOString().startsWith(date)) return undefined
  const at = Date.parse(`${date}T${time}${zone.toUpperCase()}`)
  return Number.isNaN(at) ? undefined : at
}

export interface RevocationContext {
  readonly now: number
  /** How long a token is taken after its end. */
  readonly clockToleranceMs: number
  /** How long after now a token that has been issued may say that it expires, as far as is known. */
  readonly ageMs: number
  /** When the tokens were issued with which the user is connected. */
  readonly issued: readonly number[]
}

/** @throws BridgeError invalid_revocation: it would be over before it began */
export function toRevocation({ expiresAt, ...request }: RevocationRequest, { now, clockToleranceMs, ageMs, issued }: RevocationContext): Revocation {
  if (expiresAt !== undefined && expiresAt + clockToleranceMs <= now)
    throw invalid([{ pointer: '/expiresAt', detail: 'is over already: give a time to come, or none' }])
  const { jti, sid, issuedBefore } = request
  // A new login of the user is welcome. `iat` has whole seconds, so one of this second counts as before; and the issuer's clock may be ahead of ours.
  const bound = issuedBefore ?? (jti === undefined && sid === undefined ? nextSecond(Math.max(now, ...issued)) : undefined)
  const lastExpiry = expiresAt ?? Math.max(now, bound ?? now) + ageMs
  return { id: revocationId(request), ...request, ...(bound === undefined ? {} : { issuedBefore: bound }), expiresAt: lastExpiry + clockToleranceMs }
}

const nextSecond = (time: number): number => (Math.floor(time / 1000) + 1) * 1000
