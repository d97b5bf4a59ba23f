import type { z } from 'zod'
import { closest, type Entry, type Problem, readSecretFile, type Setting } from './sources.ts'

/** A map of a list, read: what it says, and how it was written. */
interface ReadEntry<T> {
  readonly place: string
  readonly values: T
  readonly fields: ReadonlyMap<string, Setting>
}

export interface EntryReading<T> {
  readonly entries: readonly ReadEntry<T>[]
  readonly problems: readonly Problem[]
}

/** Reads maps of a configuration file; those with a problem are left out. `list`: the variable that they stand in. `secrets`: what can be given as a file. */
export function readEntries<Shape extends z.ZodRawShape>(
  list: string,
  entries: readonly Entry[],
  schema: z.ZodObject<Shape>,
  secrets: readonly string[],
): EntryReading<z.output<z.ZodObject<Shape>>> {
  const problems: Problem[] = []
  const known = [...Object.keys(schema.shape), ...secrets.map((name) => `${name}_FILE`)]
  const read = entries.flatMap((entry) => {
    const before = problems.length
    const fields = new Map(entry.fields)
    for (const name of secrets) readSecretFile(name, fields, (_, origin, detail) => problems.push({ name: list, origin, detail }))
    for (const { name, origin } of fields.values()) {
      if (known.includes(name)) continue
      const suggestion = closest(name, known)
      problems.push({ name: list, origin, detail: `is not known: ${suggestion === undefined ? 'remove it' : `did you mean ${toKey(suggestion)}?`}` })
    }
    const parsed = schema.safeParse(Object.fromEntries([...fields].map(([name, { value }]) => [name, value])))
    for (const { path, message } of parsed.error?.issues ?? []) {
      const name = String(path[0])
      const origin = fields.get(name)?.origin ?? { kind: 'file', text: `${entry.place}.${toKey(name)}` }
      problems.push({ name: list, origin, detail: fields.has(name) ? message : 'is needed' })
    }
    return parsed.success && problems.length === before ? [{ place: entry.place, values: parsed.data, fields }] : []
  })
  return { entries: read, problems }
}

/** As a file spells it: `userClaim`. */
export const toKey = (name: string): string => name.toLowerCase().replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())
