import { Duplex } from 'node:stream'
import { expect, test } from 'vitest'
import { ParentLink } from '../../src/workers/parent-link.ts'

test('what a worker tells of its sessions has left before it does anything else, with all that it had told before', () => {
  let left = ''
  const line = new Duplex({
    read: () => undefined,
    write(chunk: Buffer, _encoding, done) {
      left += chunk.toString('latin1')
      done()
    },
  })
  const link = new ParentLink(line, () => undefined)
  link.tell({ kind: 'taken' })
  expect(left).toBe('')
  link.announce([{ kind: 'closed', session: 'gone' }])
  expect(left).toMatch(/taken.*closed.*gone/s)
})
