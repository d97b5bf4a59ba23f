import fc from 'fast-check'

/** Whose the clients are: 0 and 1 are of one user. */
export const usersOfClients = [0, 0, 1, 2] as const

/** What a login may say about rooms. */
export const claims = [
  { rooms: ['a'], grant: false },
  { rooms: ['a', 'b'], grant: false },
  { rooms: [], grant: true },
  { rooms: ['b'], grant: true },
  { rooms: [], grant: false },
] as const

// What is printed when a run fails stays readable.
const plain = { noNullPrototype: true }

// One room and one user are talked about more than the others: what goes wrong takes several words about the same.
const client = fc.constantFrom(0, 0, 1, 2, 3)
const user = fc.constantFrom(0, 0, 0, 1, 2)
const room = fc.constantFrom('a', 'a', 'a', 'b', 'c')
const few = <T>(one: fc.Arbitrary<T>) => fc.uniqueArray(one, { maxLength: 2 })
const seldom = <T>(one: fc.Arbitrary<T[]>) => fc.oneof({ weight: 3, arbitrary: fc.constant<T[]>([]) }, { weight: 1, arbitrary: one })

const connect = fc.record(
  {
    kind: fc.constant('connect'),
    client,
    claims: fc.constantFrom(0, 1, 2, 2, 3, 4),
    issued: fc.constantFrom('before', 'now', 'now', 'unknown'),
    anew: fc.constantFrom(false, false, false, true),
    /** How much may wait for the client before the line is full. */
    capacity: fc.constantFrom(3, 8, 40, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY),
  },
  plain,
)
const cut = fc.record({ kind: fc.constant('cut'), client }, plain)
const take = fc.record({ kind: fc.constant('take'), client, count: fc.constantFrom(1, 3, 200) }, plain)
const set = fc.record({ kind: fc.constant('set'), user, room, present: fc.boolean() }, plain)
const ask = fc.record({ kind: fc.constant('ask'), client, room, join: fc.boolean() }, plain)
const publish = fc.record(
  {
    kind: fc.constant('publish'),
    count: fc.constantFrom(1, 1, 1, 1, 1, 2, 2, 3, 3, 110),
    users: few(user),
    rooms: few(room),
    clients: few(client),
    all: fc.constantFrom(false, false, false, true),
    exceptUsers: seldom(few(user)),
    exceptClients: seldom(few(client)),
    volatile: fc.constantFrom(false, false, false, true),
  },
  plain,
)
const disconnect = fc.record({ kind: fc.constant('disconnect'), client, all: fc.boolean() }, plain)
const wait = fc.record({ kind: fc.constant('wait'), until: fc.constantFrom('turn', 'settled', 'later', 'later') }, plain)
const sweep = fc.record({ kind: fc.constant('sweep') }, plain)
const restart = fc.record({ kind: fc.constant('restart') }, plain)

/** One thing that happens. Nobody waits for the one before to be done, but for `wait`. */
export const command = fc.oneof(
  { weight: 48, arbitrary: connect },
  { weight: 24, arbitrary: cut },
  { weight: 32, arbitrary: take },
  { weight: 72, arbitrary: set },
  { weight: 60, arbitrary: ask },
  { weight: 120, arbitrary: publish },
  { weight: 12, arbitrary: disconnect },
  { weight: 48, arbitrary: wait },
  { weight: 8, arbitrary: sweep },
  { weight: 1, arbitrary: restart },
)

type From<A> = A extends fc.Arbitrary<infer T> ? T : never
export type Connect = From<typeof connect>
export type Ask = From<typeof ask>
export type Publish = From<typeof publish>
export type Command = From<typeof command>
