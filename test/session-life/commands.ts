import fc from 'fast-check'

/** Whose the clients are. */
export const usersOfClients = ['ada', 'ada', 'bob'] as const
export const rooms = ['a', 'b', 'c'] as const
/** What a login may say about rooms; `*` allows asking for any. */
const claims = [[], ['a'], ['a', 'b'], ['*'], ['b', '*']] as const
/** What whoever decides on rooms may answer: a right without end, one for so many milliseconds, or a refusal. */
const decisions = ['ever', 1500, 4000, 'room_forbidden', 'unavailable', 'token_expired', 'old'] as const

// All times are multiples of 125 ms: as seconds they are whole numbers for a computer too.

// What is printed when a run fails stays readable.
const plain = { noNullPrototype: true }
const client = fc.constantFrom(0, 0, 0, 1, 2)
const room = fc.constantFrom(...rooms, 'a' as const)
const user = fc.constantFrom('ada', 'ada', 'bob')

const token = fc.record(
  {
    rooms: fc.constantFrom(...claims),
    /** How long it is good from now on; some are over. */
    lifeMs: fc.constantFrom(-5000, -250, 750, 3000, 8000, 8000, 400_000, 400_000, 400_000, 40 * 86_400_000),
    /** How long ago it was issued. */
    ageMs: fc.constantFrom(0, 0, 0, 2500),
    jti: fc.constantFrom('j1', 'j2', undefined),
    sid: fc.constantFrom('s1', undefined),
    /** Signed with a key that is no longer, or not yet, trusted. */
    foreign: fc.constantFrom(...Array.from({ length: 9 }, () => false), true),
  },
  plain,
)
const connect = fc.record(
  {
    kind: fc.constant('connect'),
    client,
    token,
    anew: fc.constantFrom(false, false, false, true),
    capacity: fc.constantFrom(3, 8, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY),
  },
  plain,
)
const refresh = fc.record({ kind: fc.constant('refresh'), client, token, user: fc.constantFrom('own', 'own', 'own', 'own', 'other') }, plain)
const join = fc.record({ kind: fc.constant('join'), client, room, decision: fc.constantFrom(...decisions), times: fc.constantFrom(1, 1, 3) }, plain)
const leave = fc.record({ kind: fc.constant('leave'), client, room }, plain)
const set = fc.record({ kind: fc.constant('set'), user, room, present: fc.boolean() }, plain)
const publish = fc.record(
  {
    kind: fc.constant('publish'),
    room: fc.option(room),
    user: fc.option(user),
    count: fc.constantFrom(1, 1, 2, 5, 110),
    volatile: fc.constantFrom(false, false, true),
  },
  plain,
)
const revoke = fc.record(
  {
    kind: fc.constant('revoke'),
    by: fc.constantFrom('user', 'jti', 'sid', 'user+jti'),
    user,
    jti: fc.constantFrom('j1', 'j2'),
    /** Tokens issued until so many milliseconds from now. */
    before: fc.constantFrom(undefined, -1000, 0, 1),
    lifeMs: fc.constantFrom(2000, 1e6),
  },
  plain,
)
const lift = fc.record({ kind: fc.constant('lift'), which: fc.nat(5) }, plain)
const rotate = fc.record({ kind: fc.constant('rotate'), keepOld: fc.boolean() }, plain)
const pass = fc.record({ kind: fc.constant('pass'), ms: fc.constantFrom(125, 125, 250, 250, 750, 750, 1500, 1500, 2500, 2500, 4000, 400_000) }, plain)
const cut = fc.record({ kind: fc.constant('cut'), client }, plain)
const take = fc.record({ kind: fc.constant('take'), client, count: fc.constantFrom(1, 3, 200) }, plain)
const disconnect = fc.record({ kind: fc.constant('disconnect'), client, all: fc.boolean() }, plain)
const drain = fc.record({ kind: fc.constant('drain'), clients: fc.subarray([0, 1, 2]) }, plain)
const sweep = fc.record({ kind: fc.constant('sweep') }, plain)
const restart = fc.record({ kind: fc.constant('restart') }, plain)

export const command = fc.oneof(
  { weight: 50, arbitrary: connect },
  { weight: 60, arbitrary: refresh },
  { weight: 60, arbitrary: join },
  { weight: 15, arbitrary: leave },
  { weight: 45, arbitrary: set },
  { weight: 80, arbitrary: publish },
  { weight: 12, arbitrary: revoke },
  { weight: 8, arbitrary: lift },
  { weight: 8, arbitrary: rotate },
  { weight: 60, arbitrary: pass },
  { weight: 25, arbitrary: cut },
  { weight: 30, arbitrary: take },
  { weight: 5, arbitrary: disconnect },
  { weight: 5, arbitrary: drain },
  { weight: 20, arbitrary: sweep },
  { weight: 1, arbitrary: restart },
)

type From<A> = A extends fc.Arbitrary<infer T> ? T : never
export type TokenSpec = From<typeof token>
export type Connect = From<typeof connect>
export type Refresh = From<typeof refresh>
export type Join = From<typeof join>
export type Publish = From<typeof publish>
export type Revoke = From<typeof revoke>
export type Command = From<typeof command>
