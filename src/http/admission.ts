import type { NextFunction } from 'express'
import { requireScope } from '../core/access.ts'
import { BridgeError } from '../errors.ts'
import { mediaTypeOf, parseJsonBytes, readBody, refuseEncoding, refuseMediaType } from './body.ts'
import type { Authenticator, Caller } from './credentials/authenticator.ts'
import { SignedRequest } from './credentials/signed-request.ts'
import type { OpenapiDocument } from './openapi-document.ts'
import type { IngressRequest, IngressResponse, Route } from './route.ts'

export interface AdmissionOptions {
  readonly authenticator: Authenticator
  readonly openapi: OpenapiDocument
  readonly draining: () => boolean
  /** For a body that is read at once, from the first to the last byte. */
  readonly bodyTimeoutMs: number
}

/** What every route goes through before its parameters are checked and its handler is called. */
export function createAdmission({ authenticator, openapi, draining, bodyTimeoutMs: timeoutMs }: AdmissionOptions) {
  return {
    admit: (route: Route) => async (request: IngressRequest, response: IngressResponse, next: NextFunction) => {
      response.locals.route = route.path
      response.setHeader('Cache-Control', 'no-store')
      if (route.scope !== undefined) {
        const caller = await authenticator.authenticate(request)
        if (caller instanceof SignedRequest) {
          // The signature covers the body and neither the method nor the path: without a body it would be good for any call.
          if (route.maxBodyBytes === undefined) throw new BridgeError('signature_invalid', 'Only calls with a body can be signed. Send an API key.')
          response.locals.signed = caller
        } else takeOver(response, route, caller)
      }
      if (route.appends && draining()) throw new BridgeError('draining')
      next()
    },
    readBody: (route: Route) => {
      const { path, maxBodyBytes } = route
      const accepted = Object.keys(openapi.paths[path]?.post?.requestBody?.content ?? {})
      return async (request: IngressRequest, response: IngressResponse, next: NextFunction) => {
        // The validator compiles and keeps a schema for every content type that it sees: parameters would let a caller fill the memory.
        if (maxBodyBytes === undefined) delete request.headers['content-type']
        else {
          const { signed } = response.locals
          refuseEncoding(request)
          const type = mediaTypeOf(request)
          refuseMediaType(type, accepted)
          request.headers['content-type'] = type
          if (type === 'application/json') {
            const body = await readBody(request, { maxBytes: maxBodyBytes, timeoutMs })
            if (signed !== undefined) takeOver(response, route, await authenticator.verifySigned(signed, body))
            request.body = parseJsonBytes(body)
          } else if (signed !== undefined)
            throw new BridgeError(
              'unsupported_media_type',
              'A stream cannot be signed, for its body never ends. Send application/json, or an API key.',
            )
        }
        next()
      }
    },
  }
}

/** @throws BridgeError scope_missing */
function takeOver({ locals }: IngressResponse, { scope }: Route, { publisher, credential }: Caller): void {
  locals.publisher = publisher
  locals.credential = credential
  if (scope !== undefined) requireScope(publisher, scope)
}
