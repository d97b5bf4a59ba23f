import { isIP } from 'node:net'
import { mayForward } from '../core/forwarded.ts'
import { BridgeError } from '../errors.ts'

const refuse = (detail: string): BridgeError => new BridgeError('invalid_config', detail)

/** An address that the bridge calls. @throws BridgeError invalid_config */
export function parseHttpUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol)) throw refuse('must be an address such as https://login.example.com/…')
  if (url.username !== '' || url.password !== '') throw refuse('cannot hold a user or a password: addresses end up in logs')
  if (url.hash !== '') throw refuse('cannot hold a #')
  return text
}

/** The issuer of OpenID Connect, exactly as its tokens name it. @throws BridgeError invalid_config */
export function parseOidcIssuer(text: string): string {
  const issuer = parseHttpUrl(text)
  if (issuer.includes('?')) throw refuse('cannot hold a question mark')
  if (issuer.includes('/.well-known/')) throw refuse('is the issuer alone: leave out /.well-known/openid-configuration')
  return issuer
}

/** What `iss` may be: exact, or a beginning with `*` behind it. @throws BridgeError invalid_config */
export function parseIssuer(text: string): string {
  const star = text.indexOf('*')
  if (star >= 0 && star !== text.length - 1) throw refuse(`cannot hold ${JSON.stringify(text)}: a * stands only at the end, for any rest`)
  if (text === '*') throw refuse('cannot hold "*": leave the variable out, and iss is not checked')
  // https://shop.example* would also be https://shop.example.evil.net
  if (star >= 0 && /^[a-z]+:\/\/[^/]*$/i.test(text))
    throw refuse(`cannot hold ${JSON.stringify(text)}: the host must be whole, with a slash before the * (https://shop.example.com/*)`)
  return text
}

/** `path`, or `path=value`. @throws BridgeError invalid_config */
export function parseRequiredClaim(text: string): string {
  if (/^=|^\s|\s$/.test(text)) throw refuse(`cannot hold ${JSON.stringify(text)}: write claim or claim=value, such as token_use=access`)
  return text
}

/** The name of a header, in lower case. @throws BridgeError invalid_config */
export function parseHeaderName(text: string): string {
  const name = text.toLowerCase()
  if (!mayForward(name))
    throw refuse(`cannot hold ${JSON.stringify(text)}: it is no name of a header, or one of the connection or of the bridge's own call`)
  return name
}

/** An address, a range of them as CIDR, `loopback` or `private`. @throws BridgeError invalid_config */
export function parseProxy(text: string): string {
  if (text === 'loopback' || text === 'private') return text
  const [address = '', length, ...surplus] = text.split('/')
  const family = isIP(address)
  const isLength = length === undefined || (/^\d{1,3}$/.test(length) && Number(length) <= (family === 4 ? 32 : 128))
  if (family === 0 || !isLength || surplus.length > 0)
    throw refuse(`cannot hold ${JSON.stringify(text)}: possible are addresses, CIDR (10.0.0.0/8), loopback and private`)
  if (length !== undefined && Number(length) === 0) throw refuse(`cannot hold ${JSON.stringify(text)}: everybody could then say to be at any address`)
  return text
}
