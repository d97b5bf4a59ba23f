// What belongs to one connection (RFC 9110 7.6.1), what describes a body that is not forwarded, and what says who calls: a browser must not say it for us.
const never =
  /^(?:connection|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade|http2-settings|host|expect|content-.*|accept|accept-encoding|user-agent|webhook-.*|sec-websocket-.*)$/

/** Whether a header, by its lower-case name, may be handed on to the application at all. */
export function mayForward(name: string): boolean {
  return /^[a-z0-9!#$%&'*+.^_`|~-]+$/.test(name) && !never.test(name)
}
