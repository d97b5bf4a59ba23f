import type { IncomingMessage } from 'node:http'
import { BlockList, isIP } from 'node:net'

/** Where the client of a request is, as an IP address. */
export type ClientAddress = (request: IncomingMessage) => string

const groups: Readonly<Record<string, readonly string[]>> = {
  loopback: ['127.0.0.0/8', '::1'],
  private: ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7'],
}

/**
 * The peer, or, when that is a trusted proxy, the last address in X-Forwarded-For that is not one. Each proxy appends whom it heard from, so everything
 * to the left of the first stranger is that stranger's word, and may be invented.
 *
 * `Forwarded` (RFC 7239) is not read: a proxy that writes one of the two headers passes on the other as the client sent it.
 */
export function createClientAddress(trustedProxies: readonly string[]): ClientAddress {
  const trusted = new BlockList()
  for (const entry of trustedProxies.flatMap((entry) => groups[entry] ?? [entry])) {
    const [address = '', bits] = entry.split('/')
    const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
    if (bits === undefined) trusted.addAddress(address, family)
    else trusted.addSubnet(address, Number(bits), family)
  }
  const isTrusted = (address: string): boolean => trusted.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4')

  return ({ socket, headers }) => {
    let address = plain(socket.remoteAddress ?? '')
    // Without a proxy that is trusted the header is anybody's word.
    if (trustedProxies.length === 0 || isIP(address) === 0 || !isTrusted(address)) return address
    const forwarded = [headers['x-forwarded-for'] ?? []].flat().join(',')
    for (let end = forwarded.length; end > 0; ) {
      const comma = forwarded.lastIndexOf(',', end - 1)
      const next = toAddress(forwarded.slice(comma + 1, end))
      // What is no address hides who came before: the proxy that heard it is the last that is known.
      if (next === undefined) return address
      address = next
      if (!isTrusted(address)) return address
      end = comma
    }
    return address
  }
}

/** What limits count by: an IPv4 address, or the /64 of an IPv6 address, which is what one subscriber has at the least. */
export function toNetwork(address: string): string {
  if (isIP(address) !== 6) return address
  const [head = '', tail] = address.split('::')
  const before = head === '' ? [] : head.split(':')
  const after = tail === undefined || tail === '' ? [] : tail.split(':')
  // An address that ends in dots and digits has one part less than it has groups; it is in the last four, which do not count here.
  const missing = 8 - before.length - after.length - (address.includes('.') ? 1 : 0)
  const parts = tail === undefined ? before : [...before, ...Array<string>(Math.max(0, missing)).fill('0'), ...after]
  return `${parts
    .slice(0, 4)
    .map((part) => Number.parseInt(part, 16).toString(16))
    .join(':')}::/64`
}

/** One entry of X-Forwarded-For; some proxies add a port. */
function toAddress(entry: string): string | undefined {
  const text = entry.trim()
  const address = plain(/^\[([^\]]*)\](?::\d{1,5})?$/.exec(text)?.[1] ?? /^([\d.]+):\d{1,5}$/.exec(text)?.[1] ?? text)
  return isIP(address) === 0 ? undefined : address
}

/** An IPv4 address that came over an IPv6 socket is that IPv4 address; the zone of a link-local one is our side of the link. */
function plain(text: string): string {
  const [address = ''] = text.split('%')
  const mapped = /^::ffff:([\d.]+)$/i.exec(address)?.[1]
  return mapped !== undefined && isIP(mapped) === 4 ? mapped : address
}
