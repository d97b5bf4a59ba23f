import { claimAt } from '../auth/claims.ts'
import type { IssuerOptions } from '../auth/issuer.ts'
import { isName, maxNameLength, toName } from '../core/name.ts'
import { parseRoomPattern } from '../core/room-pattern.ts'

type Claims = Readonly<Record<string, unknown>>

/** What to do about the claims that say who it is and where: both are looked at, whichever was refused first. */
export function claimCures(claims: Claims, { userClaims, roomsClaim }: Pick<IssuerOptions, 'userClaims' | 'roomsClaim'>): readonly string[] {
  return [...userCures(claims, userClaims), ...roomCures(claimAt(claims, roomsClaim), roomsClaim)]
}

function userCures(claims: Claims, userClaims: readonly string[]): readonly string[] {
  const name = userClaims.find((path) => isPresent(claimAt(claims, path)))
  if (name === undefined) return ['name the claim that holds the user: SIDECAST_JWT_USER_CLAIM']
  const user = claimAt(claims, name)
  return toName(user) === undefined ? [`${name} ${faultOf(user)}, or name another claim: SIDECAST_JWT_USER_CLAIM`] : []
}

function roomCures(rooms: unknown, name: string): readonly string[] {
  if (!isPresent(rooms)) return []
  if (!Array.isArray(rooms)) return [`issue ${name} as a list, such as ["news","order:*"], or name another claim: SIDECAST_JWT_ROOMS_CLAIM`]
  const items: readonly unknown[] = rooms
  const unnamed = items.findIndex((item) => toName(item) === undefined)
  return [
    ...(unnamed < 0 ? [] : [`item ${unnamed + 1} of ${name} ${faultOf(items[unnamed])}`]),
    ...(items.some((item) => parseRoomPattern(toName(item) ?? '') === undefined)
      ? ['a * stands for a whole segment between : . or / (order:*), a ** for the rest and only at the end (order:**)']
      : []),
  ]
}

/** What is wrong with a value that is not usable as a name, and what to do. */
function faultOf(value: unknown): string {
  if (typeof value === 'number')
    return Number.isInteger(value)
      ? 'is a number beyond 2^53, whose last digits are lost: issue it as a text, in quotes'
      : 'is a number with a fraction: issue a whole one, or a text'
  if (typeof value !== 'string') return `is ${kindOf(value)}: issue a text or a whole number`
  const characters = [...value]
  if (characters.length === 0) return 'is empty: issue a text of at least one character'
  if (characters.length > maxNameLength)
    return `has ${characters.length} characters, and ${maxNameLength} are the limit: issue a shorter one, such as an id`
  const place = characters.findIndex((character) => !isName(character))
  const code = characters[place]?.codePointAt(0)?.toString(16).toUpperCase().padStart(4, '0')
  return `has a character that nobody sees, U+${code} in place ${place + 1}: issue it without`
}

function kindOf(value: unknown): string {
  if (Array.isArray(value)) return 'a list'
  if (value === null) return 'null'
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`
}

const isPresent = (value: unknown): boolean => value !== undefined && value !== null
