import { BridgeError } from '../../errors.ts'
import { Connection, type ConnectionOptions, toList, toText } from './connection.ts'
import { formatAddress, type RedisAddress, type RedisEndpoint } from './endpoint.ts'
import { explain, Refused } from './failure.ts'

/** How they are spoken to, and whom they are asked for. */
export interface SentinelOptions extends Pick<ConnectionOptions, 'tls' | 'ca' | 'username' | 'password' | 'timeoutMs'> {
  readonly servers: readonly RedisAddress[]
  /** What they call it. */
  readonly master: string
}

type Vote = { readonly address: RedisAddress } | { readonly reason: string }

/** Those who know which Redis is the master. */
export class Sentinels {
  readonly #sentinels: readonly Sentinel[]

  constructor(options: SentinelOptions) {
    this.#sentinels = options.servers.map((address) => new Sentinel(address, options))
  }

  /** For one that names its master through sentinels; undefined for others. */
  static of({ servers, master, ...endpoint }: RedisEndpoint, options: { readonly ca?: string; readonly timeoutMs: number }): Sentinels | undefined {
    return master === undefined ? undefined : new Sentinels({ servers, master, ...endpoint, ...options })
  }

  /** The one that most of them name: one that is cut off from the others names an old one. Waits for no more than a majority. @throws BridgeError log_unavailable */
  async findMaster(): Promise<RedisAddress> {
    const votes = await this.#votes()
    const [most] = toCounts(votes)
    if (most !== undefined) return most.address
    const reasons = votes.map((vote) => ('reason' in vote ? vote.reason : ''))
    throw new BridgeError('log_unavailable', `no sentinel names the master: ${reasons.join('; ')}`)
  }

  /** The one that more than half of them name, whoever does not answer; undefined when there is none. */
  async agreedMaster(): Promise<RedisAddress | undefined> {
    const [most] = toCounts(await this.#votes())
    return most !== undefined && this.#isMajority(most.count) ? most.address : undefined
  }

  close(): void {
    for (const sentinel of this.#sentinels) sentinel.close()
  }

  #isMajority(count: number): boolean {
    return count > this.#sentinels.length / 2
  }

  /** Until a majority agrees, or all have answered. Never rejects. */
  #votes(): Promise<readonly Vote[]> {
    return new Promise((resolve) => {
      const votes: Vote[] = []
      for (const sentinel of this.#sentinels) {
        void sentinel.vote().then((vote) => {
          votes.push(vote)
          if (votes.length === this.#sentinels.length || this.#isMajority(toCounts(votes)[0]?.count ?? 0)) resolve(votes)
        })
      }
    })
  }
}

function toCounts(votes: readonly Vote[]): readonly { readonly address: RedisAddress; readonly count: number }[] {
  const named = votes.flatMap((vote) => ('address' in vote ? [vote.address] : []))
  const groups = [...Map.groupBy(named, formatAddress).values()].flatMap(([address, ...more]) =>
    address === undefined ? [] : [{ address, count: 1 + more.length }],
  )
  return groups.toSorted((one, other) => other.count - one.count)
}

/** One of them; its connection is kept from one question to the next. */
class Sentinel {
  readonly #address: RedisAddress
  readonly #options: SentinelOptions
  #connection: Connection | undefined
  #closed = false
  /** Sentinels have users of their own, mostly none. */
  #withLogin = false

  constructor(address: RedisAddress, options: SentinelOptions) {
    this.#address = address
    this.#options = options
  }

  /** Never rejects. */
  async vote(): Promise<Vote> {
    try {
      return await this.#ask()
    } catch (error) {
      this.#drop()
      return { reason: explain(error, formatAddress(this.#address)).reason }
    }
  }

  close(): void {
    this.#closed = true
    this.#drop()
  }

  #drop(): void {
    this.#connection?.end(new Error('the sentinel is not asked any more'))
    this.#connection = undefined
  }

  async #ask(): Promise<Vote> {
    const { master } = this.#options
    try {
      this.#connection ??= await this.#open()
      const [host, port] = toList(await this.#connection.call(['SENTINEL', 'get-master-addr-by-name', master])).map(toText)
      if (host === undefined) return { reason: `the sentinel ${formatAddress(this.#address)} knows no master ${master}` }
      return { address: { host, port: Number(port) } }
    } catch (error) {
      if (this.#withLogin || !(error instanceof Refused) || !/^NOAUTH|^NOPERM/.test(error.message)) throw error
      this.#withLogin = true
      this.#drop()
      return this.#ask()
    }
  }

  async #open(): Promise<Connection> {
    const { tls, ca, username, password, timeoutMs } = this.#options
    const login = this.#withLogin ? { ...(username !== undefined && { username }), ...(password !== undefined && { password }) } : {}
    const connection = await Connection.open(this.#address, { tls, ...(ca !== undefined && { ca }), ...login, database: 0, timeoutMs })
    if (!this.#closed) return connection
    connection.end(new Error('the sentinels are not asked any more'))
    throw new Error('the sentinels are not asked any more')
  }
}
