import { isRawNumber } from './json.ts'

/** The longest name of a user or a room, in characters (Unicode code points). */
export const maxNameLength = 200

// Control, invisible (formatting and default-ignorable) and unpaired surrogate characters, and line separators: two names that look the same must be the same,
// and an unpaired surrogate would change when it is written as UTF-8.
const name = /^[^\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{DI}]{1,200}$/u

/** The rule for the names of users and rooms. */
export function isName(value: string): boolean {
  return name.test(value)
}

/** A name as it comes from outside: PHP sends integers, which are taken as their decimal text. Above 2^53 they have lost digits already: undefined. */
export function toName(value: unknown): string | undefined {
  if (typeof value === 'number') return Number.isSafeInteger(value) ? String(value) : undefined
  return typeof value === 'string' && isName(value) ? value : undefined
}

export const tooLarge = 'is a number beyond 2^53: send it as a string, or digits are lost'

/** What is wrong with a value of which `toName` makes nothing. */
export function nameProblem(value: unknown): string {
  if (isRawNumber(value) || typeof value === 'number') return tooLarge
  return typeof value === 'string' && !isName(value)
    ? `must be 1 to ${maxNameLength} characters, none of them a control or invisible formatting character`
    : 'must be a string or an integer'
}
