import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Lifetimes } from '../src/core/lifetimes.ts'

const item = fc.nat(40)
const command = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('set'), item, at: fc.option(fc.nat(1000), { nil: undefined }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('delete'), item }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('due'), time: fc.nat(1000) }) },
)

test('what is due comes, the earliest first, and nothing else, whatever was moved or taken out before', () => {
  fc.assert(
    fc.property(fc.array(command, { maxLength: 200, size: 'max' }), (commands) => {
      const lifetimes = new Lifetimes<number>()
      const model = new Map<number, number>()
      for (const one of commands) {
        if (one.kind === 'set') {
          lifetimes.set(one.item, one.at)
          if (one.at === undefined) model.delete(one.item)
          else model.set(one.item, one.at)
        } else if (one.kind === 'delete') {
          lifetimes.delete(one.item)
          model.delete(one.item)
        } else {
          const due = lifetimes.due(one.time)
          const times = due.map((item) => model.get(item) ?? Number.NaN)
          expect(times).toEqual(times.toSorted((a, b) => a - b))
          expect(due.toSorted()).toEqual([...model].flatMap(([item, at]) => (at <= one.time ? [item] : [])).toSorted())
          for (const item of due) model.delete(item)
        }
        expect(lifetimes.size).toBe(model.size)
      }
    }),
  )
})
