import { BridgeError } from '../errors.ts'
import { toNetwork } from './client-address.ts'
import { RefusalRate } from './refusal-rate.ts'

export interface LimitOptions {
  /** How many connections one network may have, also those that nobody has logged in on. Absent: any number. */
  readonly connectionsPerIp?: number
  /** How many refused logins a second from one network are looked at, after a burst of ten times that. 0: all. */
  readonly refusalsPerIp: number
  /** Milliseconds. */
  readonly now: () => number
}

/** What one network may cost. A network is an IPv4 address or the /64 of an IPv6 address. */
export class Limits {
  readonly #options: LimitOptions
  readonly #refusals: RefusalRate
  /** Bounded by the connections that there are. */
  readonly #connections = new Map<string, number>()

  constructor(options: LimitOptions) {
    this.#options = options
    this.#refusals = new RefusalRate(options.refusalsPerIp, options.now)
  }

  /** Why no token from this address is looked at now. */
  refusalOfLogin(address: string): BridgeError | undefined {
    const network = toNetwork(address)
    if (!this.#refusals.isSpent(network)) return undefined
    const cure = 'wait a moment; a proxy in front belongs into SIDECAST_TRUSTED_PROXIES'
    return new BridgeError('rate_limited', `more than ${this.#options.refusalsPerIp} logins a second from ${network} were refused: ${cure}`)
  }

  /** Why no connection from this address is taken now. */
  refusalOfConnection(address: string): BridgeError | undefined {
    const network = toNetwork(address)
    const { connectionsPerIp } = this.#options
    if (connectionsPerIp === undefined || (this.#connections.get(network) ?? 0) < connectionsPerIp) return undefined
    return new BridgeError('rate_limited', `${network} has ${connectionsPerIp} connections already (SIDECAST_CONNECTIONS_PER_IP)`)
  }

  /** A connection begins: whether it may. To be told when it ends, in any case. */
  opened(address: string): boolean {
    const network = toNetwork(address)
    const count = (this.#connections.get(network) ?? 0) + 1
    this.#connections.set(network, count)
    return count <= (this.#options.connectionsPerIp ?? Number.POSITIVE_INFINITY)
  }

  closed(address: string): void {
    const network = toNetwork(address)
    const count = (this.#connections.get(network) ?? 0) - 1
    if (count > 0) this.#connections.set(network, count)
    else this.#connections.delete(network)
  }

  /** A login was refused, and not for a reason of ours. */
  refused(address: string): void {
    this.#refusals.count(toNetwork(address))
  }
}
