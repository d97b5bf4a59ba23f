import type { NextFunction, Request, Response } from 'express'
import { BridgeError } from '../errors.ts'

/**
 * Refuses paths that a proxy in front may read otherwise than we do (an encoded slash or backslash decides there what is a segment), and NUL.
 * A percent sign of a name comes as %25, so `%252F` is the name `%2F`.
 */
export function checkAddress(request: Request, _response: Response, next: NextFunction): void {
  // RFC 9112, 3.2.2: what a proxy sends is to be understood too. From here on there is one form.
  if (!request.url.startsWith('/')) request.originalUrl = request.url = request.url.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?]*/i, '')
  const end = request.url.indexOf('?')
  const path = end === -1 ? request.url : request.url.slice(0, end)
  if (path.includes('%')) {
    if (/%(?:2f|5c|00)/i.test(path)) throw new BridgeError('invalid_request', 'The path contains an encoded slash, backslash or NUL.')
    try {
      decodeURIComponent(path)
    } catch {
      throw new BridgeError('invalid_request', 'The path is not percent-encoded UTF-8.')
    }
  }
  next()
}
