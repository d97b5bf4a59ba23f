import { isName, toName } from '../core/name.ts'
import { BridgeError } from '../errors.ts'

/** What stands in a template: text as it is, or a place for the value of a claim. */
type Part = { readonly kind: 'text'; readonly text: string } | { readonly kind: 'claim'; readonly path: string; readonly list?: List }

/** How a claim of several values is read: a list, or a text that is cut at `separator`. A text that is not cut is one value. */
interface List {
  readonly separator?: ' ' | ','
}

/** The name of a room with places for claims: `role:{roles[]}`, `scope:{scope[ ]}`, `tenant:{tenant}`; `{user}` is whose token it is. */
export interface RoomTemplate {
  readonly text: string
  readonly parts: readonly Part[]
}

export interface Filling {
  readonly rooms: readonly string[]
  /** What gave no room, and why; for whoever looks into it. */
  readonly skipped: readonly { readonly value: unknown; readonly reason: string }[]
}

const place = /\{([^{}]*)\}/

/** @throws BridgeError invalid_config */
export function parseRoomTemplate(text: string): RoomTemplate {
  const refuse = (reason: string): BridgeError => new BridgeError('invalid_config', `cannot hold ${JSON.stringify(text)}: ${reason}`)
  const parts = text.split(place).flatMap((piece, index): readonly Part[] => {
    if (index % 2 === 0) return piece === '' ? [] : [{ kind: 'text', text: piece }]
    const [, path = '', list, separator] = /^([^[\]]*)(\[([ ,])?\])?$/.exec(piece) ?? []
    if (path === '') throw refuse('write role:{roles[]} for a list, scope:{scope[ ]} for a text of several words, tenant:{tenant} for one value')
    return [{ kind: 'claim', path, ...(list === undefined ? {} : { list: separator === ' ' || separator === ',' ? { separator } : {} }) }]
  })
  const claims = parts.filter((part) => part.kind === 'claim')
  const texts = parts.filter((part) => part.kind === 'text').map((part) => part.text)
  if (claims.length === 0) throw refuse('it names no claim in braces, such as role:{roles[]}')
  if (claims.filter(({ list }) => list !== undefined).length > 1) throw refuse('only one of its claims may be a list')
  if (/[{}*]/.test(texts.join('')) || !isName(`${texts.join('')}x`))
    throw refuse('around the braces stands the name of a room: no * and no invisible characters')
  // Its claims alone would decide which room it is.
  if (texts.join('') === '') throw refuse('it needs a text of its own, such as role:{roles[]}')
  return { text, parts }
}

/**
 * The rooms that a template makes of a token. A claim that is absent makes none, and a value that cannot stand in a name is left out: it never becomes another
 * room than the one that it names, nor is a login refused for what was issued for others to read.
 */
export function fillTemplate(template: RoomTemplate, read: (path: string) => unknown): Filling {
  const skipped: { readonly value: unknown; readonly reason: string }[] = []
  const dotted = template.parts.some((part) => part.kind === 'text' && part.text.includes('.'))
  const rooms = template.parts.reduce<readonly string[]>(
    (beginnings, part) => {
      if (part.kind === 'text') return beginnings.map((beginning) => beginning + part.text)
      return valuesOf(read(part.path), part.list).flatMap((value) => {
        const segment = toSegment(value, dotted)
        if (segment === undefined) skipped.push({ value, reason: 'is no text of visible characters and no integer below 2^53' })
        return segment === undefined ? [] : beginnings.map((beginning) => beginning + segment)
      })
    },
    [''],
  )
  for (const room of rooms) if (!isName(room)) skipped.push({ value: room, reason: 'is longer than the name of a room may be' })
  return { rooms: [...new Set(rooms.filter(isName))], skipped }
}

function valuesOf(claim: unknown, list: List | undefined): readonly unknown[] {
  if (claim === undefined || claim === null) return []
  if (list === undefined) return [claim]
  if (Array.isArray(claim)) return claim
  if (typeof claim !== 'string' || list.separator === undefined) return [claim]
  return claim
    .split(list.separator)
    .map((item) => item.trim())
    .filter((item) => item !== '')
}

/**
 * A value as a part of a name. What separates segments, or stands for one, is written `%3A`: who could choose the name `7:admin` would else be in the room
 * `tenant:7:admin`. Dots stay where the template itself has none, for the sake of mail addresses.
 */
function toSegment(value: unknown, dotted: boolean): string | undefined {
  const text = toName(value)
  if (text === undefined || text === '') return undefined
  return text.replace(dotted ? /[%:/*.]/g : /[%:/*]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`)
}
