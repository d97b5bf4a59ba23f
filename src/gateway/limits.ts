import { BridgeError } from '../errors.ts'
import { toNetwork } from './client-address.ts'
import { RefusalRate } from './refusal-rate.ts'

export interface LimitOptions {
  /** How many connections one network may have, also those that nobody has logged in on. Absent: any number. */
  readonly connectionsPerIp?: number
  /** How many refused logins a second from one network are looked at, after a burst of ten times that; from all four times as many. 0: all. */
  readonly refusalsPerIp: number
  /** Milliseconds. */
  readonly now: () => number
}

const cure = 'is it a proxy? SIDECAST_TRUSTED_PROXIES tells its clients apart'
// Made once: the trace of the calls that an error holds costs more than all else of a refusal.
const tooManyRefusals = new BridgeError(
  'rate_limited',
  `more logins of this network, or of all together, are refused than SIDECAST_REFUSALS_PER_IP allows; ${cure}`,
)
const tooManyConnections = new BridgeError('rate_limited', `this network has as many connections as SIDECAST_CONNECTIONS_PER_IP; ${cure}`)

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
    return this.#refusals.isSpent(toNetwork(address)) ? tooManyRefusals : undefined
  }

  /** Why no connection from this address is taken now. */
  refusalOfConnection(address: string): BridgeError | undefined {
    const { connectionsPerIp } = this.#options
    if (connectionsPerIp === undefined) return undefined
    return (this.#connections.get(toNetwork(address)) ?? 0) < connectionsPerIp ? undefined : tooManyConnections
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
