import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Entry, Stored } from '../../src/core/entry.ts'
import { changesStream } from '../../src/core/entry.ts'
import type { EventLog } from '../../src/core/event-log.ts'
import { roomStream, sessionStream, userStream } from '../../src/core/target.ts'
import { disconnect, entriesOf, eventTo, membership, onlyPosition, positionsOf, readPositions, until } from './entries.ts'

interface LogSetup {
  /** The same place is the same log, also after it was closed. */
  readonly place: string
  readonly now: () => number
  readonly retentionAgeMs: number
  readonly retentionEvents: number
  readonly dedupeWindowMs: number
  readonly onFailure: (error: unknown) => void
}

const day = 86_400_000

/** How the logs of one implementation are opened, and how the data of a closed one is copied to another place, as for a backup. */
interface LogKind {
  open(setup: LogSetup): Promise<EventLog>
  copy(from: string, to: string): Promise<void>
}

/** The guarantees of the port, which every implementation owes. */
export function describeEventLog(name: string, kind: LogKind): void {
  describe(name, () => {
    const opened: EventLog[] = []
    let place = ''
    let clock = 0
    let failures: unknown[] = []

    async function open(more: Partial<LogSetup> = {}): Promise<EventLog> {
      const log = await kind.open({
        place,
        now: () => clock,
        retentionAgeMs: day,
        retentionEvents: 1_000_000,
        dedupeWindowMs: day,
        onFailure: (error) => failures.push(error),
        ...more,
      })
      opened.push(log)
      return log
    }

    beforeEach(() => {
      place = crypto.randomUUID()
      clock = 1_750_000_000_000
      failures = []
    })

    afterEach(async () => {
      await Promise.all(opened.splice(0).map((log) => log.close()))
      expect(failures).toEqual([])
    })

    describe('order', () => {
      test('a new log is empty and appendable', async () => {
        const log = await open()
        expect(log.head()).toBe(0)
        expect(log.first()).toBe(1)
        expect(log.health()).toMatchObject({ appendable: true })
        expect(log.epoch).toMatch(/^[a-z0-9]{8,}$/)
        expect(log.secret).toHaveLength(32)
        expect(log.read(0, ['all'], 10)).toEqual({ gap: false, entries: [], upTo: 0, more: false })
      })

      test('an entry comes back as it was appended', async () => {
        const log = await open()
        const entry = eventTo('r', {
          digest: 'd',
          data: '{"n":12345678901234567890,"t":"\u2028 ü 😀"}',
          to: { users: ['7'], rooms: ['r'], sessions: ['s'], all: false },
          except: { users: ['8'], sessions: ['t'] },
        })
        const [appended] = await log.append([entry])
        expect(appended).toMatchObject({ outcome: 'stored', time: clock })
        for (const stream of [userStream('7'), roomStream('r'), sessionStream('s')]) {
          expect(log.read(0, [stream], 10)).toEqual({
            gap: false,
            entries: [{ position: appended?.position, time: clock, entry }],
            upTo: appended?.position,
            more: false,
          })
        }
        expect(readPositions(log.read(0, ['all', userStream('8'), roomStream('rr'), roomStream('')], 10))).toEqual([])
      })

      test('concurrent callers get one order, and each keeps its own', async () => {
        const log = await open()
        const callers = Array.from({ length: 50 }, (_, caller) => Array.from({ length: 20 }, (_, n) => eventTo('r', { id: `${caller}.${n}` })))
        const appended = await Promise.all(
          callers.flatMap((entries) => [log.append(entries.slice(0, 7)), ...entries.slice(7).map((entry) => log.append([entry]))]),
        )
        const positions = appended.flatMap(positionsOf)
        expect(new Set(positions).size).toBe(1000)
        expect(Math.max(...positions)).toBe(log.head())
        const read = entriesOf(log.read(0, [roomStream('r')], 2000))
        expect(read.map(({ position }) => position)).toEqual(positions.toSorted((a, b) => a - b))
        for (const [caller, entries] of callers.entries()) {
          expect(read.filter(({ id }) => id.startsWith(`${caller}.`)).map(({ id }) => id)).toEqual(entries.map(({ id }) => id))
        }
      })

      test('the time of entries never decreases, whatever the clock does', async () => {
        const log = await open()
        const start = clock
        await log.append([eventTo('r')])
        clock -= 5000
        expect(await log.append([eventTo('r')])).toMatchObject([{ time: start }])
        clock = start + 1
        expect(await log.append([eventTo('r')])).toMatchObject([{ time: start + 1 }])
      })

      test('appending nothing stores nothing', async () => {
        const log = await open()
        expect(await log.append([])).toEqual([])
        expect(log.head()).toBe(0)
      })

      test('a restart keeps the epoch, the secret, the order and the time', async () => {
        const log = await open()
        const { epoch, secret } = log
        const [first] = await log.append([eventTo('r', { id: 'a' })])
        await log.close()
        clock -= 60_000
        const again = await open()
        expect(again.epoch).toBe(epoch)
        expect(again.secret).toEqual(secret)
        const [second] = await again.append([eventTo('r', { id: 'b' })])
        expect(second?.position).toBeGreaterThan(first?.position ?? Number.POSITIVE_INFINITY)
        expect(second?.time).toBe(first?.time)
        expect(entriesOf(again.read(0, [roomStream('r')], 10)).map(({ id }) => id)).toEqual(['a', 'b'])
      })

      test('two logs have different epochs and secrets', async () => {
        const [one, other] = [await open(), await open({ place: crypto.randomUUID() })]
        expect(one.epoch).not.toBe(other.epoch)
        expect(one.secret).not.toEqual(other.secret)
      })
    })

    describe('offsets', () => {
      const append = async (log: EventLog, count: number) => positionsOf(await log.append(Array.from({ length: count }, () => eventTo('r'))))
      const offsetsOf = (log: EventLog, positions: readonly number[]) => positions.map((position) => log.offsetOf(position))

      test('stay what they are, and good, across restarts', async () => {
        const positions = [0]
        let given: readonly string[] = []
        for (let round = 0; round < 5; round++) {
          const log = await open()
          expect(offsetsOf(log, positions)).toEqual(given.length === 0 ? [log.offsetOf(0)] : given)
          positions.push(...(await append(log, 2)))
          given = offsetsOf(log, positions)
          expect(given.map((offset) => log.positionOf(offset))).toEqual(positions)
          await log.close()
        }
        expect(new Set(given).size).toBe(11)
        for (const offset of given) expect(offset).toMatch(/^[a-z0-9]+-\d+$/)
      })

      test('of another log, ahead of this one, in another spelling or made up are none', async () => {
        const [log, other] = [await open(), await open({ place: crypto.randomUUID() })]
        await append(log, 2)
        const elsewhere = await append(other, 2)
        const head = log.head()
        const [run = ''] = log.offsetOf(head).split('-')
        expect(log.positionOf(`${run}-${head}`)).toBe(head)
        const spellings = [
          `0${head}`,
          `+${head}`,
          `-${head}`,
          `${head}.0`,
          `${head}e0`,
          ` ${head}`,
          `${head}\n`,
          '',
          `${head}-`,
          '99999999999999999999',
        ]
        const wrong = [`${head + 1}`, ...spellings].map((position) => `${run}-${position}`)
        const others = [
          ...offsetsOf(other, [0, ...elsewhere]),
          '',
          '-',
          `-${head}`,
          run,
          `${head}`,
          `${log.epoch}-${head}`,
          `x${run}-${head}`,
          run.slice(1),
        ]
        for (const offset of [...others, ...wrong]) expect([offset, log.positionOf(offset)]).toEqual([offset, undefined])
      })

      test('of what came after a copy that was put back are none, also when the log has got as far again', async () => {
        const backup = crypto.randomUUID()
        const log = await open()
        const positions = [0, ...(await append(log, 3))]
        const before = offsetsOf(log, positions)
        await log.close()
        await kind.copy(place, backup)
        const lost: string[] = []
        for (let round = 0; round < 3; round++) {
          const goesOn = await open()
          lost.push(...offsetsOf(goesOn, await append(goesOn, 2)))
          await goesOn.close()
        }
        for (let round = 0; round < 3; round++) {
          const restored = await open({ place: backup })
          for (let count = 0; count < 10; count += 5) {
            expect(lost.map((offset) => restored.positionOf(offset))).toEqual(lost.map(() => undefined))
            expect(before.map((offset) => restored.positionOf(offset))).toEqual(positions)
            await append(restored, 5)
          }
          await restored.close()
        }
      })

      test('of an idle log stay good, however often it is opened, also when it has been emptied', async () => {
        for (const count of [0, 2]) {
          const log = await open()
          await append(log, count)
          clock += day
          await until(() => log.first() === log.head() + 1)
          const head = log.head()
          const offset = log.offsetOf(head)
          await log.close()
          for (let round = 0; round < 20; round++) {
            const idle = await open()
            expect([idle.offsetOf(head), idle.positionOf(offset)]).toEqual([offset, head])
            await idle.close()
          }
          const again = await open()
          const [next] = await append(again, 1)
          expect(again.positionOf(offset)).toBe(head)
          expect(readPositions(again.read(head, [roomStream('r')], 10))).toEqual([next])
          await again.close()
        }
      })

      test('are good as long as what comes after them is kept', async () => {
        const given = new Map<number, string>()
        for (let round = 0; round < 12; round++) {
          const log = await open({ retentionEvents: 5 })
          given.set(log.head(), log.offsetOf(log.head()))
          for (const position of await append(log, 1 + (round % 3))) given.set(position, log.offsetOf(position))
          await until(() => readPositions(log.read(log.first() - 1, [roomStream('r')], 100)).length <= 5)
          const isGood = (offset: string) => {
            const position = log.positionOf(offset)
            return position !== undefined && !log.read(position, ['all'], 1).gap
          }
          expect([...given.values()].map(isGood)).toEqual([...given.keys()].map((position) => position >= log.first() - 1))
          await log.close()
        }
      })
    })

    describe('repeated ids', () => {
      const original = eventTo('r', { id: 'order-1', digest: 'd1' })
      const changed = { ...original, digest: 'd2' }

      test('in the same call', async () => {
        const log = await open()
        const [first, second, third] = await log.append([original, original, changed])
        expect(first?.outcome).toBe('stored')
        expect(second).toEqual({ ...first, outcome: 'duplicate' })
        expect(third).toEqual({ ...first, outcome: 'conflict' })
        expect(log.head()).toBe(first?.position)
      })

      test('in calls at the same time', async () => {
        const log = await open()
        const outcomes = (await Promise.all(Array.from({ length: 20 }, () => log.append([original])))).flat()
        expect(outcomes.filter(({ outcome }) => outcome === 'stored')).toHaveLength(1)
        expect(new Set(positionsOf(outcomes)).size).toBe(1)
        expect(readPositions(log.read(0, [roomStream('r')], 10))).toHaveLength(1)
      })

      test('later, and after a restart: the result is that of the first', async () => {
        const log = await open()
        const [first] = await log.append([original])
        clock += 1000
        expect(await log.append([original, eventTo('r'), changed])).toMatchObject([
          { ...first, outcome: 'duplicate' },
          { outcome: 'stored' },
          { ...first, outcome: 'conflict' },
        ])
        await log.close()
        const again = await open()
        expect(await again.append([original])).toEqual([{ ...first, outcome: 'duplicate' }])
        expect(await again.append([changed])).toEqual([{ ...first, outcome: 'conflict' }])
      })

      test('after the window the id is new, and opens a window of its own', async () => {
        const log = await open({ dedupeWindowMs: 1000 })
        const first = onlyPosition(await log.append([original]))
        clock += 999
        expect(await log.append([original])).toMatchObject([{ outcome: 'duplicate' }])
        clock += 1
        const [second] = await log.append([changed])
        expect(second?.outcome).toBe('stored')
        expect(second?.position).toBeGreaterThan(first)
        clock += 999
        expect(await log.append([changed])).toEqual([{ ...second, outcome: 'duplicate' }])
      })

      test('an id that is used again after its window is known, whatever has been tidied up since', async () => {
        const log = await open({ dedupeWindowMs: 1000, retentionEvents: 1 })
        const [first] = await log.append([original])
        let newest = first
        // Each time what is too old goes together with what is new, or before it.
        for (let round = 0; round < 8; round++) {
          await log.append([eventTo('r')])
          // Trimmed is what has been put in its place for good.
          await until(() => log.first() > (newest?.position ?? 0))
          expect(await log.append([original])).toEqual([{ ...newest, outcome: 'duplicate' }])
          clock += 1000
          ;[newest] = await log.append([original])
          expect(newest).toMatchObject({ outcome: 'stored', time: clock })
        }
      })

      test('the window does not end when the event itself is trimmed', async () => {
        const log = await open({ retentionEvents: 1 })
        const first = onlyPosition(await log.append([original]))
        await log.append([eventTo('r')])
        await until(() => log.first() > first)
        expect(await log.append([original])).toMatchObject([{ outcome: 'duplicate', position: first }])
      })

      test('ids without a digest may repeat', async () => {
        const log = await open()
        const entry = eventTo('r', { id: 'same' })
        expect(await log.append([entry, entry])).toMatchObject([{ outcome: 'stored' }, { outcome: 'stored' }])
      })

      test('ids of any length and alphabet are told apart', async () => {
        const log = await open()
        const ids = ['x'.repeat(5000), `${'x'.repeat(5000)}y`, '=', '#', '', 'é', 'e\u0301', ' ', '😀'.repeat(200)]
        const entries = ids.map((id) => eventTo('r', { id, digest: 'd' }))
        expect((await log.append(entries)).map(({ outcome }) => outcome)).toEqual(ids.map(() => 'stored'))
        expect((await log.append(entries)).map(({ outcome }) => outcome)).toEqual(ids.map(() => 'duplicate'))
      })
    })

    describe('reading', () => {
      test('merges streams in order, each entry once', async () => {
        const log = await open()
        const to = (users: string[], rooms: string[]) => ({ users, rooms, sessions: [], all: false })
        await log.append([
          eventTo('', { id: '1', to: to(['u'], []) }),
          eventTo('', { id: '2', to: to(['u'], ['r']) }),
          eventTo('', { id: '3', to: to(['other'], ['other']) }),
          eventTo('', { id: '4', to: { users: [], rooms: [], sessions: [], all: true } }),
          eventTo('', { id: '5', to: to([], ['r', 'q']) }),
          eventTo('', { id: '6', to: to(['u'], []) }),
        ])
        const streams = [roomStream('q'), userStream('u'), 'all', roomStream('r'), userStream('u')] as const
        expect(entriesOf(log.read(0, streams, 10)).map(({ id }) => id)).toEqual(['1', '2', '4', '5', '6'])
      })

      test('stops at the limit and goes on after it', async () => {
        const log = await open()
        const count = 250
        const entries = Array.from({ length: count }, (_, n) => eventTo(n % 3 === 0 ? 'a' : 'b', { id: `${n}` }))
        await log.append([...entries, eventTo('elsewhere')])
        const ids: string[] = []
        let after = 0
        for (let more = true; more; ) {
          const reading = log.read(after, [roomStream('a'), roomStream('b')], 100)
          if (reading.gap) throw new Error('gap')
          ids.push(...entriesOf(reading).map(({ id }) => id))
          expect(reading.upTo).toBe(reading.more ? reading.entries.at(-1)?.position : log.head())
          after = reading.upTo
          more = reading.more
        }
        expect(ids).toEqual(entries.map(({ id }) => id))
      })

      test.each([40, 400])(
        'of more streams than there are entries, and of fewer, gives the same as of those that have entries: %s entries',
        async (count) => {
          const log = await open()
          const used = Array.from({ length: 10 }, (_, n) => roomStream(`r${n}`))
          const all = Array.from({ length: 100 }, (_, n) => roomStream(`r${n}`))
          const entries = Array.from({ length: count }, (_, n) => eventTo(n % 4 === 0 ? 'elsewhere' : `r${n % 10}`, { volatile: n % 7 === 0 }))
          const places = positionsOf(await log.append([...entries, membership({ user: 'u' }, 'r1', true), eventTo('elsewhere')]))
          for (const limit of [1, 7, 1000]) {
            for (const after of [0, places[3] ?? 0, places[20] ?? 0, log.head()]) {
              const few = log.read(after, used, limit)
              expect(few.gap).toBe(false)
              expect(log.read(after, all, limit)).toEqual(few)
            }
          }
          expect(log.read(log.head() + 1, all, 1)).toEqual({ gap: true })
        },
      )

      test('says that there is no more when the limit is met exactly', async () => {
        const log = await open()
        await log.append([eventTo('r'), eventTo('r'), eventTo('elsewhere')])
        expect(log.read(0, [roomStream('r')], 2)).toMatchObject({ more: false, upTo: log.head() })
        expect(log.read(0, [roomStream('r')], 1)).toMatchObject({ more: true })
      })

      test('a place ahead of the log is a gap; its head is not', async () => {
        const log = await open()
        await log.append([eventTo('r')])
        expect(log.read(log.head(), [roomStream('r')], 10)).toEqual({ gap: false, entries: [], upTo: log.head(), more: false })
        expect(log.read(log.head() + 1, [roomStream('r')], 10)).toEqual({ gap: true })
      })

      test('volatile events have a place in the order and cannot be read', async () => {
        const log = await open()
        const followed: Stored[] = []
        log.follow((entries) => followed.push(...entries))
        await log.append([eventTo('r', { id: '1' }), eventTo('r', { id: '2', volatile: true }), eventTo('r', { id: '3' })])
        expect(entriesOf(log.read(0, [roomStream('r')], 10)).map(({ id }) => id)).toEqual(['1', '3'])
        expect(followed).toHaveLength(3)
        expect(log.head()).toBe(followed.at(-1)?.position)
      })

      test('names that look alike are different streams', async () => {
        const log = await open()
        const names = ['a', 'a:b', 'a:', ':a', 'A', 'ä', 'a ', `${'😀'.repeat(199)}a`, `${'😀'.repeat(199)}b`, '\u{10ffff}'.repeat(200)]
        await log.append(names.map((room) => eventTo(room, { id: room })))
        for (const room of names) expect(entriesOf(log.read(0, [roomStream(room)], 10)).map(({ id }) => id)).toEqual([room])
      })
    })

    describe('trimming', () => {
      test('by count keeps the newest', async () => {
        const log = await open({ retentionEvents: 10 })
        const positions = positionsOf(await log.append(Array.from({ length: 25 }, () => eventTo('r'))))
        const [removed = 0, ...kept] = positions.slice(14)
        await until(() => log.first() > removed)
        expect(readPositions(log.read(removed, [roomStream('r')], 100))).toEqual(kept)
        expect(log.read(removed - 1, [roomStream('r')], 100)).toEqual({ gap: true })
      })

      test('by age removes what is older', async () => {
        const log = await open({ retentionAgeMs: 1000 })
        const [, old = 0] = positionsOf(await log.append([eventTo('r'), eventTo('r')]))
        clock += 600
        const young = onlyPosition(await log.append([eventTo('r')]))
        clock += 400
        await until(() => log.first() > old)
        expect(readPositions(log.read(young - 1, [roomStream('r')], 10))).toEqual([young])
        expect(log.read(0, [roomStream('r')], 10)).toEqual({ gap: true })
        clock += 600
        await until(() => log.first() === log.head() + 1)
        expect(log.read(log.head(), [roomStream('r')], 10)).toMatchObject({ gap: false, entries: [] })
        const next = onlyPosition(await log.append([eventTo('r')]))
        expect(next).toBeGreaterThan(young)
        expect(readPositions(log.read(young, [roomStream('r')], 10))).toEqual([next])
      })

      test('a restart does not bring back what was trimmed', async () => {
        const log = await open({ retentionEvents: 3 })
        const positions = positionsOf(await log.append(Array.from({ length: 10 }, () => eventTo('r'))))
        await until(() => log.first() > (positions[6] ?? 0))
        const [first, head] = [log.first(), log.head()]
        await log.close()
        const again = await open({ retentionEvents: 3 })
        expect([again.first(), again.head()]).toEqual([first, head])
        expect(again.read(first - 2, [roomStream('r')], 10)).toEqual({ gap: true })
      })

      test('volatile events do not push out others', async () => {
        const log = await open({ retentionEvents: 2 })
        const positions = positionsOf(await log.append([eventTo('r'), eventTo('r'), eventTo('r')]))
        await until(() => log.first() > (positions[0] ?? 0))
        await log.append(Array.from({ length: 50 }, () => eventTo('r', { volatile: true })))
        await log.append([eventTo('r')])
        await until(() => log.first() > (positions[1] ?? 0))
        expect(readPositions(log.read(positions[2] ?? 0, [roomStream('r')], 10))).toEqual([log.head()])
        expect(readPositions(log.read(log.first() - 1, [roomStream('r')], 10))).toHaveLength(2)
      })
    })

    describe('memberships', () => {
      test('are the last word about a member and a room', async () => {
        const log = await open()
        const user = { user: '7' }
        const [first, second, third] = positionsOf(
          await log.append([membership(user, 'a', true), membership(user, 'b', true), membership(user, 'a', false)]),
        )
        expect(log.memberships(user)).toEqual(
          new Map([
            ['a', { present: false, position: third, time: clock }],
            ['b', { present: true, position: second, time: clock }],
          ]),
        )
        expect(first).toBeLessThan(second ?? 0)
        expect(log.memberships({ user: '8' })).toEqual(new Map())
        expect(log.memberships({ session: '7' })).toEqual(new Map())
      })

      test('keep who has allowed them, and until when', async () => {
        const log = await open()
        const session = { session: 's' }
        const [, second] = positionsOf(
          await log.append([
            { ...membership(session, 'a', true), authorized: { givenAt: clock - 7 } },
            { ...membership(session, 'b', true), authorized: { until: clock + 5, givenAt: clock } },
          ]),
        )
        expect(log.memberships(session).get('a')).toMatchObject({ present: true, authorized: { givenAt: clock - 7 } })
        expect(log.memberships(session).get('b')).toEqual({
          present: true,
          position: second,
          time: clock,
          authorized: { until: clock + 5, givenAt: clock },
        })
      })

      test('an entry carries the membership that it replaced, live and when it is read', async () => {
        const log = await open()
        const user = { user: '7' }
        const followed: Stored[] = []
        log.follow((entries) => followed.push(...entries))
        await log.append([membership(user, 'a', true), membership(user, 'a', false)])
        clock += 5
        await log.append([membership(user, 'a', true)])
        const [first, second, third] = followed
        expect(first).not.toHaveProperty('was')
        expect(second?.was).toEqual({ present: true, position: first?.position, time: clock - 5 })
        expect(third?.was).toEqual({ present: false, position: second?.position, time: clock - 5 })
        const reading = log.read(0, [changesStream(user)], 10)
        expect(reading.gap ? [] : reading.entries).toEqual(followed)
      })

      test('survive a restart and the trimming of their entries', async () => {
        const log = await open({ retentionEvents: 1 })
        const user = { user: '7' }
        const position = onlyPosition(await log.append([membership(user, 'a', false)]))
        await log.append([eventTo('r'), eventTo('r')])
        await until(() => log.first() > position)
        await log.close()
        const again = await open({ retentionEvents: 1 })
        expect(again.memberships(user).get('a')).toMatchObject({ present: false, position })
        const followed: Stored[] = []
        again.follow((entries) => followed.push(...entries))
        await again.append([membership(user, 'a', true)])
        expect(followed[0]?.was).toMatchObject({ present: false, position })
      })

      test('of a session end with it; those of users stay', async () => {
        const log = await open()
        await log.append([
          membership({ session: 's' }, 'a', true),
          membership({ session: 's' }, 'b', true),
          membership({ session: 's2' }, 'a', true),
          membership({ session: 's:' }, 'a', true),
          membership({ user: 's' }, 'a', true),
        ])
        expect(log.sessionsWithMemberships().toSorted()).toEqual(['s', 's2', 's:'])
        await log.append([{ kind: 'session-ended', session: 's' }])
        expect(log.memberships({ session: 's' })).toEqual(new Map())
        expect(log.sessionsWithMemberships().toSorted()).toEqual(['s2', 's:'])
        expect(log.memberships({ user: 's' }).size).toBe(1)
      })

      test('are not mixed up by the characters of names', async () => {
        const log = await open()
        const longest = '\u{10ffff}'.repeat(200)
        const pairs = [
          ['a', 'b:c'],
          ['a:b', 'c'],
          ['a', 'b'],
          ['a:', 'b:c'],
          ['', 'x'],
          [longest, longest],
        ] as const
        await log.append(pairs.map(([user, room]) => membership({ user }, room, true)))
        expect([...log.memberships({ user: 'a' }).keys()].toSorted()).toEqual(['b', 'b:c'])
        expect([...log.memberships({ user: 'a:b' }).keys()]).toEqual(['c'])
        expect([...log.memberships({ user: longest }).keys()]).toEqual([longest])
        expect(log.sessionsWithMemberships()).toEqual([])
      })

      test('changes of a member and the end of its sessions are read in order', async () => {
        const log = await open()
        const user = { user: '7' }
        await log.append([membership(user, 'a', true), eventTo('a'), disconnect(user)])
        expect(entriesOf(log.read(0, [changesStream(user)], 10)).map(({ id }) => id)).toEqual(['membership', 'disconnect'])
      })
    })

    describe('revocations', () => {
      test('are there in order until they are lifted, also after the log was closed, whatever the retention', async () => {
        const log = await open({ retentionEvents: 1 })
        const revoked = (id: string): Entry => ({ kind: 'revocation', revocation: { id, user: id, issuedBefore: clock, expiresAt: clock + day } })
        const [first] = positionsOf(await log.append([revoked('b'), revoked('a'), revoked('c')]))
        await log.append([{ kind: 'revocation-lifted', id: 'a' }])
        for (let count = 0; count < 10; count++) await log.append([eventTo('r')])
        expect(log.revocations().map(({ entry }) => entry.revocation.id)).toEqual(['b', 'c'])
        await log.close()
        const again = await open({ retentionEvents: 1 })
        expect(again.revocations()[0]).toEqual({ position: first, time: clock, entry: revoked('b') })
        expect(again.revocations()).toHaveLength(2)
      })

      test('one with the same id takes the place of the other', async () => {
        const log = await open()
        const revoked = (issuedBefore: number): Entry => ({
          kind: 'revocation',
          revocation: { id: 'x', user: '7', issuedBefore, expiresAt: issuedBefore + day },
        })
        await log.append([revoked(1), revoked(2)])
        expect(log.revocations().map(({ entry }) => entry.revocation.issuedBefore)).toEqual([2])
      })

      test('what takes the place of another refuses no less, unless that had expired; it is handed over so', async () => {
        const log = await open()
        const followed: Stored[] = []
        log.follow((entries) => void followed.push(...entries))
        const revoked = (issuedBefore: number | undefined, expiresAt: number): Entry => ({
          kind: 'revocation',
          revocation: { id: 'x', user: '7', ...(issuedBefore !== undefined && { issuedBefore }), expiresAt },
        })
        await log.append([revoked(2, clock + 50), revoked(1, clock + 90)])
        await log.append([revoked(undefined, clock + 20)])
        await log.append([revoked(3, clock + 30)])
        const states = [revoked(2, clock + 50), revoked(2, clock + 90), revoked(undefined, clock + 90), revoked(undefined, clock + 90)]
        expect(followed.map(({ entry }) => entry)).toEqual(states)
        expect(log.revocations().map(({ entry }) => entry)).toEqual(states.slice(-1))
        clock += 90
        await log.append([revoked(4, clock + 30)])
        expect(log.revocations().map(({ entry }) => entry)).toEqual([revoked(4, clock + 30)])
      })

      test('a lifting that is only for what has expired leaves what took its place; those behind a position can be asked for', async () => {
        const log = await open()
        const revoked = (id: string, expiresAt: number): Entry => ({ kind: 'revocation', revocation: { id, jti: id, expiresAt } })
        const positions = positionsOf(await log.append([revoked('a', clock + 5), revoked('b', clock + 5)]))
        clock += 5
        const [third] = positionsOf(await log.append([revoked('a', clock + 5)]))
        await log.append(['a', 'b', 'c'].map((id) => ({ kind: 'revocation-lifted', id, expiredBy: clock }) as const))
        expect(log.revocations().map(({ entry }) => entry.revocation.id)).toEqual(['a'])
        expect(log.revocations(positions[1])).toHaveLength(1)
        expect(log.revocations(third)).toHaveLength(0)
      })
    })

    describe('following', () => {
      test('hands over each entry once, in order, before its append resolves, when it can be read', async () => {
        const log = await open()
        const followed: Stored[] = []
        log.follow((entries) => {
          followed.push(...entries)
          expect(log.head()).toBe(entries.at(-1)?.position)
          for (const { position } of entries) expect(readPositions(log.read(position - 1, [roomStream('r')], 1))).toEqual([position])
        })
        const seenByThen = await Promise.all(
          Array.from({ length: 200 }, async () => {
            const position = onlyPosition(await log.append([eventTo('r')]))
            return followed.some((stored) => stored.position === position)
          }),
        )
        expect(seenByThen).not.toContain(false)
        expect(followed.map(({ position }) => position)).toEqual(readPositions(log.read(0, [roomStream('r')], 1000)))
      })

      test('hands over what was stored only', async () => {
        const log = await open()
        const followed: string[] = []
        log.follow((entries) => followed.push(...entries.map(({ entry }) => (entry.kind === 'event' ? entry.id : entry.kind))))
        const entry = eventTo('r', { id: 'a', digest: 'd' })
        await log.append([entry, entry, { kind: 'session-ended', session: 's' }])
        await log.append([entry])
        expect(followed).toEqual(['a', 'session-ended'])
      })

      test('a follower that throws is reported, and loses nothing', async () => {
        const log = await open()
        const followed: number[] = []
        log.follow((entries) => {
          followed.push(...entries.map(({ position }) => position))
          throw new Error('the follower failed')
        })
        const positions = [...positionsOf(await log.append([eventTo('r')])), ...positionsOf(await log.append([eventTo('r')]))]
        expect(followed).toEqual(positions)
        expect(log.health()).toMatchObject({ appendable: true })
        expect(failures.splice(0)).toMatchObject([{ message: 'the follower failed' }, { message: 'the follower failed' }])
      })
    })

    describe('closing', () => {
      test('finishes what was accepted and refuses what comes after', async () => {
        const log = await open()
        const accepted = Array.from({ length: 100 }, (_, n) => log.append([eventTo('r', { id: `${n}` })]))
        const closed = log.close()
        await expect(log.append([eventTo('r')])).rejects.toMatchObject({ code: 'log_unavailable' })
        expect(log.health()).toMatchObject({ appendable: false })
        const positions = (await Promise.all(accepted)).flatMap(positionsOf)
        await closed
        const again = await open()
        expect(readPositions(again.read(0, [roomStream('r')], 1000))).toEqual(positions)
      })

      test('can be asked for twice', async () => {
        const log = await open()
        await Promise.all([log.close(), log.close()])
        await log.close()
      })
    })
  })
}
