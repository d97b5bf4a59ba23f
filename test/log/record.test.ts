import { expect, test } from 'vitest'
import { decodeRecord, draftRecord, sealRecord } from '../../src/log/record.ts'
import { eventTo, membership } from './entries.ts'

test('a record comes back as it was made', () => {
  const entry = eventTo('r', { digest: 'd', data: '"ü\u2028"' })
  expect(decodeRecord(sealRecord(draftRecord(entry), 2 ** 40, 1.5e12), 2 ** 40)).toEqual({ position: 2 ** 40, time: 1.5e12, entry })
  const change = membership({ user: '7' }, 'r', true)
  const was = { present: false, position: 1, time: 2 }
  expect(decodeRecord(sealRecord(draftRecord(change, was), 3, 4), 3)).toEqual({ position: 3, time: 4, entry: change, was })
})

test('a record with any bit changed, or cut off anywhere, is damaged', () => {
  const bytes = sealRecord(draftRecord(eventTo('r')), 1, 1)
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const changed = Buffer.from(bytes)
    changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    expect(() => decodeRecord(changed, 1)).toThrow(expect.objectContaining({ code: 'log_damaged' }))
  }
  for (let length = 0; length < bytes.length; length++) {
    expect(() => decodeRecord(bytes.subarray(0, length), 1)).toThrow(expect.objectContaining({ code: 'log_damaged' }))
  }
})

test('a whole record of another position is damage', () => {
  expect(() => decodeRecord(sealRecord(draftRecord(eventTo('r')), 1, 1), 2)).toThrow(expect.objectContaining({ code: 'log_damaged' }))
})
