import type { Appended } from '../../core/event-log.ts'
import type { LogKeys } from './keys.ts'
import { maxPackBytes, maxPackEvents, pack } from './pack.ts'
import { timeOf } from './place.ts'
import type { Frame } from './wire.ts'

/** What the append script is given of a group, see there. */
export interface AppendCall {
  readonly idKeys: readonly Buffer[]
  /** As the script takes it: whether there are both volatile events and others. */
  readonly mixed: '1' | ''
  readonly args: readonly (string | Buffer)[]
}

export function toAppendCall(frames: readonly Frame[], keys: LogKeys): AppendCall {
  const ids = new Map<string, number>()
  const idKeys: Buffer[] = []
  const indexOf = (idKey: Buffer): string => {
    const name = idKey.toString('latin1')
    const index = ids.get(name) ?? idKeys.push(keys.id(idKey))
    ids.set(name, index)
    return String(index)
  }
  const args: (string | Buffer)[] = []
  for (const run of toRuns(frames)) {
    if (Array.isArray(run)) {
      const named = run.flatMap(({ prepared: { idKey }, b }, at) => (idKey === undefined ? [] : [String(at + 1), indexOf(idKey), b]))
      args.push('g', pack(run.map(({ body }) => body)), String(run.length), String(named.length / 3), ...named)
    } else {
      const { kind, body, a, b, prepared } = run
      args.push(kind, body, kind === 'v' ? (prepared.idKey === undefined ? '' : indexOf(prepared.idKey)) : a, b)
    }
  }
  const volatile = frames.filter(({ kind }) => kind === 'v').length
  return { idKeys, mixed: volatile > 0 && volatile < frames.length ? '1' : '', args }
}

/** Events that follow each other, as they can be packed, and all else one by one. */
function* toRuns(frames: readonly Frame[]): Iterable<Frame | Frame[]> {
  let run: Frame[] = []
  let bytes = 0
  for (const frame of frames) {
    const isEvent = frame.kind === 'e'
    if (run.length > 0 && (!isEvent || run.length === maxPackEvents || bytes + frame.body.length > maxPackBytes)) {
      yield run
      run = []
      bytes = 0
    }
    if (isEvent) {
      run.push(frame)
      bytes += frame.body.length
    } else yield frame
  }
  if (run.length > 0) yield run
}

const outcomes = { s: 'stored', d: 'duplicate', c: 'conflict', x: 'duplicate' } as const

/** What became of each entry, from what the script has answered. */
export function readOutcomes(result: string): readonly Appended[] {
  return result.split(' ').flatMap((text) => {
    const letter = text[0]
    const outcome = letter === 's' || letter === 'd' || letter === 'c' || letter === 'x' ? outcomes[letter] : 'stored'
    const [first = 0, count = 1] = text.slice(1).split('+').map(Number)
    return Array.from({ length: count }, (_, index) => ({ outcome, position: first + index, time: timeOf(first + index) }))
  })
}
