import { expect, test } from 'vitest'
import type { ErrorCode } from '../../src/errors.ts'
import { answerOf, hmac, issuer, now, signJws, token, verifier } from './sign.ts'

const { verifyRoomToken } = verifier([issuer({ userClaims: ['mail', 'uid'], audiences: ['push'], types: ['at+jwt'], clockToleranceMs: 2000 })])
const room = { aud: 'sidecast:room', room: 'order:7' }

test('a room token says who may enter which room, and until when', async () => {
  expect(await verifyRoomToken(token({ ...room, iat: now, exp: now + 60.25 }))).toEqual({
    user: '42',
    room: 'order:7',
    issuedAt: (now - 2) * 1000,
    until: (now + 60) * 1000 + 250,
  })
  expect(await verifyRoomToken(token({ ...room, uid: 7, room: 8 }))).toEqual({ user: '7', room: '8', until: (now + 60) * 1000 })
  expect(await verifyRoomToken(token({ ...room, aud: ['other', 'sidecast:room'] }))).toMatchObject({ user: '42' })
})

test.each<[string, object | string, ErrorCode]>([
  ['a login', { aud: 'push', room: 'order:7' }, 'token_audience'],
  ['a token without an audience', { room: 'order:7' }, 'token_audience'],
  ['an audience that is longer', { ...room, aud: 'sidecast:room:x' }, 'token_audience'],
  ['an audience in other letters', { ...room, aud: 'Sidecast:Room' }, 'token_audience'],
  ['an audience in an object', { ...room, aud: { 'sidecast:room': true } }, 'token_audience'],
  ['no room', { aud: 'sidecast:room' }, 'token_claims'],
  ['a pattern', { ...room, room: 'order:*' }, 'token_claims'],
  ['all rooms', { ...room, room: '**' }, 'token_claims'],
  ['a list of rooms', { ...room, room: ['order:7'] }, 'token_claims'],
  ['an invisible character', { ...room, room: 'order:7\u200b' }, 'token_claims'],
  ['a room that has lost digits', '{"aud":"sidecast:room","sub":"42","exp":1800000060,"room":9007199254740993}', 'token_claims'],
  ['no user', { ...room, sub: undefined }, 'token_claims'],
  ['an unusable user', { ...room, sub: { id: 42 } }, 'token_claims'],
  ['one that is over', { ...room, exp: now - 2 }, 'token_expired'],
  ['one that has not begun', { ...room, nbf: now + 3 }, 'token_not_active'],
  ['one without an end', `{"aud":"sidecast:room","sub":"42","room":"order:7"}`, 'token_claims'],
])('%s opens no room', async (_, claims, code) => {
  expect(await answerOf(() => verifyRoomToken(token(claims)))).toBe(code)
})

test('without an end it opens no room, also where logins may be without', async () => {
  const { verifyRoomToken } = verifier([issuer({ requireExp: false })])
  expect(await answerOf(() => verifyRoomToken(token('{"aud":"sidecast:room","sub":"42","room":"order:7"}')))).toBe('token_claims')
})

test('it is signed with a key of its issuer', async () => {
  const forged = signJws({ alg: 'HS256' }, { ...room, sub: '42', exp: now + 60 }, hmac(256, 'another secret of some thirty two bytes'))
  expect(await answerOf(() => verifyRoomToken(forged))).toBe('token_signature')
  expect(await answerOf(() => verifyRoomToken('room'))).toBe('token_malformed')
})
