import { describe, expect, test } from 'vitest'
import { parseRoomTemplate } from '../../src/auth/room-templates.ts'
import { BridgeError } from '../../src/errors.ts'
import { judge, token } from './sign.ts'

/** The rooms of a login with these claims, but for the user's own. */
async function rooms(claims: object, ...roomTemplates: readonly string[]): Promise<readonly string[]> {
  const identity = await judge(token(claims), { roomTemplates })
  if (typeof identity === 'string') throw new Error(identity)
  expect(identity.rooms[0]).toMatch(/^user:/)
  return identity.rooms.slice(1)
}

test('everybody is in a room of their own, first of all', async () => {
  expect(await judge(token({ rooms: ['news', 'user:42'] }))).toMatchObject({ rooms: ['user:42', 'news'] })
})

test.each<[string, string, object, readonly string[]]>([
  ['each of a list', 'role:{roles[]}', { roles: ['admin', 'Shop Owner', 7] }, ['role:admin', 'role:Shop Owner', 'role:7']],
  ['a list with one value twice', 'role:{roles[]}', { roles: ['a', 'a'] }, ['role:a']],
  ['a text where a list is usual', 'role:{roles[]}', { roles: 'Shop Owner' }, ['role:Shop Owner']],
  ['each word of a text', 'scope:{scope[ ]}', { scope: 'read  write' }, ['scope:read', 'scope:write']],
  ['a list where a text is usual, not cut', 'scope:{scope[ ]}', { scope: ['a b', 'c'] }, ['scope:a b', 'scope:c']],
  ['a text with commas', 'role:{auth[,]}', { auth: 'ADMIN, USER' }, ['role:ADMIN', 'role:USER']],
  ['one value', 'tenant:{tenant}', { tenant: 7 }, ['tenant:7']],
  ['a path', 'role:{realm_access.roles[]}', { realm_access: { roles: ['x'] } }, ['role:x']],
  ['a URL-named claim', 'role:{https://shop.example/roles[]}', { 'https://shop.example/roles': ['x'] }, ['role:x']],
  ['the user', 'inbox/{user}', { sub: 42 }, ['inbox/42']],
  ['several claims', '{tenant}-{roles[]}', { tenant: 't', roles: ['a', 'b'] }, ['t-a', 't-b']],
  ['a claim that is absent', 'tenant:{tenant}:{roles[]}', { roles: ['a'] }, []],
  ['a claim that is null', 'tenant:{tenant}', { tenant: null }, []],
  ['an empty list', 'role:{roles[]}', { roles: [] }, []],
  ['what is no text, beside what is', 'role:{roles[]}', { roles: [true, {}, ['a'], 1.5, '', '\u200b', 'a\nb', 'good'] }, ['role:good']],
  ['an object in the place of a list', 'role:{roles[]}', { roles: { 0: 'a' } }, []],
  ['a list in the place of one value', 'tenant:{tenant}', { tenant: ['a'] }, []],
  ['a value that is too long for a room', 'role:{roles[]}', { roles: ['x'.repeat(196), 'y'.repeat(195)] }, [`role:${'y'.repeat(195)}`]],
  ['what is inherited', 'x:{constructor}', {}, []],
])('%s', async (_, template, claims, expected) => {
  expect(await rooms(claims, template)).toEqual(expected)
})

describe('a value stays one segment, whatever it holds', () => {
  test.each<[string, string, readonly string[]]>([
    ['tenant:{tenant}', '7:admin', ['tenant:7%3Aadmin']],
    ['tenant:{tenant}', '7/admin', ['tenant:7%2Fadmin']],
    ['tenant:{tenant}', '*', ['tenant:%2A']],
    ['tenant:{tenant}', '**', ['tenant:%2A%2A']],
    ['tenant:{tenant}', '7%3Aadmin', ['tenant:7%253Aadmin']],
    ['tenant:{tenant}', 'ann@example.com', ['tenant:ann@example.com']],
    ['tenant.{tenant}', '7.admin', ['tenant.7%2Eadmin']],
    ['tenant:{tenant}', '{user}', ['tenant:{user}']],
    ['tenant:{tenant}', '$&', ['tenant:$&']],
  ])('%s with %j', async (template, tenant, expected) => {
    expect(await rooms({ tenant }, template)).toEqual(expected)
  })

  test('so the room of a user called 42:inbox is none of the user 42', async () => {
    expect(await judge(token({ sub: '42:inbox' }))).toMatchObject({ user: '42:inbox', rooms: ['user:42%3Ainbox'], grants: [] })
  })
})

test.each(['news', '{roles[]}', 'a:{}', 'a:{x', 'a:x}', 'a:*:{x}', 'a:{x[]}:{y[]}', 'a:{x[;]}', 'a:{x[].id}', '\u200ba:{x}'])(
  '%j is no template',
  (text) => {
    expect(() => parseRoomTemplate(text)).toThrow(BridgeError)
  },
)
