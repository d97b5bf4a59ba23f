import { expect, test } from 'vitest'
import { type PeerSession, Peers, type PresenceChange } from '../../src/core/peers.ts'

const opened = (session: string): PresenceChange => {
  const told: PeerSession = { session, user: '7', token: {}, connectedAt: 1, transport: 'websocket', rooms: [], expiresAt: null, attachedAt: 0 }
  return { kind: 'opened', session: told }
}

test('who comes while a process tells all anew knows the same in the end as those who have heard it from the beginning', () => {
  const peers = new Peers()
  peers.apply('other', [opened('a'), opened('b'), { kind: 'all-begin' }, opened('b')])
  const late = new Peers()
  late.apply('other', [...peers.toldBy('other')])
  expect([...late.sessions()].map(({ session }) => session).toSorted()).toEqual(['a', 'b'])
  for (const each of [peers, late]) {
    each.apply('other', [opened('c'), { kind: 'all-end' }])
    expect([...each.sessions()].map(({ session }) => session)).toEqual(['b', 'c'])
  }
})
