import { hash } from 'node:crypto'
import { BridgeError, type FieldError } from '../errors.ts'
import type { EventEntry } from './entry.ts'
import { findHarm } from './json.ts'
import { nameProblem, toName } from './name.ts'
import { createShapeCheck, invalidBody } from './shape.ts'
import type { Except, Target } from './target.ts'

/** An event before it has an offset. Made only here, so whoever holds one need not check it again. */
export interface Draft {
  readonly event: string
  /** JSON text. */
  readonly data: string
  readonly to: Target
  readonly except: Except
  readonly id?: string
  readonly volatile: boolean
}

/** The most users, rooms and sessions that one event may name together. */
const maxTargets = 1000

/** The shape that the schema `EventDraft` of openapi.yaml has made sure of. */
interface DraftBody {
  readonly event: string
  readonly data?: unknown
  readonly to: {
    readonly users?: readonly unknown[]
    readonly rooms?: readonly unknown[]
    readonly sessions?: readonly string[]
    readonly all?: boolean
  }
  readonly except?: { readonly users?: readonly unknown[]; readonly sessions?: readonly string[] }
  readonly id?: string
  readonly volatile?: boolean
}

/** From anything that an ingress took in to a draft. @throws BridgeError invalid_event, event_too_large */
export type DraftParser = (value: unknown) => Draft

/** The parser for the schema `EventDraft` of an OpenAPI 3.1 document; the one gate for events of every ingress. */
export function createDraftParser(openapi: object, limits: { readonly maxEventBytes: number }): DraftParser {
  const check = createShapeCheck<DraftBody>(openapi, 'EventDraft', invalid)
  return (value) => toDraft(check(value), limits)
}

function toDraft(body: DraftBody, limits: { readonly maxEventBytes: number }): Draft {
  const errors: FieldError[] = []
  const names = (values: readonly unknown[] | undefined, pointer: string): readonly string[] => {
    if (values === undefined) return nobody
    const found: string[] = []
    for (const [index, value] of values.entries()) {
      const name = toName(value)
      if (name === undefined) errors.push({ pointer: `${pointer}/${index}`, detail: nameProblem(value) })
      else found.push(name)
    }
    return unique(found)
  }
  const to: Target = {
    users: names(body.to.users, '/to/users'),
    rooms: names(body.to.rooms, '/to/rooms'),
    sessions: unique(body.to.sessions ?? nobody),
    all: body.to.all ?? false,
  }
  const { except: excepted, id } = body
  const except: Except =
    excepted === undefined ? noException : { users: names(excepted.users, '/except/users'), sessions: unique(excepted.sessions ?? nobody) }

  const named = to.users.length + to.rooms.length + to.sessions.length
  if (named > maxTargets) errors.push({ pointer: '/to', detail: `names ${named} targets; an event may name ${maxTargets}` })
  if (named === 0 && !to.all && errors.length === 0)
    errors.push({ pointer: '/to', detail: 'names nobody: give users, rooms or sessions, or set all to true' })
  const harm = findHarm(body.data, ['data'])
  if (harm !== undefined) errors.push(harm)
  if (errors.length > 0) throw invalid(errors)

  const data = JSON.stringify(body.data ?? null)
  const bytes = Buffer.byteLength(data)
  if (bytes > limits.maxEventBytes) {
    throw new BridgeError('event_too_large', `data is ${bytes} bytes of JSON; the limit is ${limits.maxEventBytes}`)
  }
  const draft = { event: body.event, data, to, except, volatile: body.volatile ?? false }
  return id === undefined ? draft : { ...draft, id }
}

/** The entry of a draft. Only an id of the publisher's can come again, with this event or with another. */
export function toEventEntry({ id, event, data, to, except, volatile }: Draft, newId: () => string): EventEntry {
  if (id === undefined) return { kind: 'event', id: newId(), event, data, to, except, volatile }
  const digest = hash('sha256', JSON.stringify([event, data, to, except, volatile]), 'base64url')
  return { kind: 'event', id, event, data, to, except, volatile, digest }
}

// Most events name one user or one room, and leave nobody out.
const nobody: readonly string[] = []
const noException: Except = { users: nobody, sessions: nobody }

function unique(names: readonly string[]): readonly string[] {
  return names.length > 1 ? [...new Set(names)] : names
}

const invalid = (errors: readonly FieldError[]): BridgeError => invalidBody('invalid_event', 'the event', errors)
