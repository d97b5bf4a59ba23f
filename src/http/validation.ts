import { Router } from 'express'
import { middleware, error as validatorErrors } from 'express-openapi-validator'
import { BridgeError, type FieldError } from '../errors.ts'
import { type OpenapiDocument, resolve } from './openapi-document.ts'
import type { Step } from './route.ts'

/**
 * Checks parameters and the shape of a batch against openapi.yaml, but no events and revocations: those pass their parsers, once, as on every ingress.
 * For requests that have matched a route.
 */
export function createRequestValidator(document: OpenapiDocument): Step {
  const steps = middleware({
    // As the validator wants it: its type is that of documents written in TypeScript.
    apiSpec: toCheckedDocument(document) as Parameters<typeof middleware>[0]['apiSpec'],
    validateSecurity: false,
    validateApiSpec: false,
    fileUploader: false,
    validateRequests: { allErrors: true },
  })
  // A router runs them one after the other; its type is that of requests that nobody has checked.
  return Router().use(...steps) as unknown as Step
}

function toCheckedDocument(document: OpenapiDocument): object {
  const copy = structuredClone(document)
  for (const item of Object.values(copy.paths)) {
    // RFC 9110, 9.3.2: HEAD is GET without the content.
    if (item.get !== undefined) item.head ??= item.get
    // The body has been read, or is being streamed; that there is one is found by reading it.
    if (item.post?.requestBody !== undefined) item.post.requestBody.required = false
  }
  return { ...copy, components: { ...copy.components, schemas: { ...copy.components.schemas, EventDraft: {}, RevocationRequest: {} } } }
}

/** What the validator throws, in our words; undefined when it comes from elsewhere. */
export function toValidationError(thrown: unknown, document: OpenapiDocument): BridgeError | undefined {
  if (!(thrown instanceof validatorErrors.BadRequest)) return undefined
  const found = (thrown.errors ?? []).map(({ path, message, errorCode }) => ({ path, message, keyword: errorCode?.split('.')[0] }))
  const errors = found.map(({ path, message, keyword }): FieldError => {
    const pointer = path.replace(/^\/(body|params)/, (part) => (part === '/body' ? '' : '/path'))
    return { pointer, detail: describe(document, path, keyword) ?? message }
  })
  const code = found.some(({ path }) => path.startsWith('/body')) ? 'invalid_event' : 'invalid_request'
  return new BridgeError(code, errors.map(({ pointer, detail }) => `${pointer || 'the body'} ${detail}`).join('; ') || undefined, { errors })
}

/** The words that openapi.yaml has for a parameter or for the batch. */
function describe(document: OpenapiDocument, path: string, keyword: string | undefined): string | undefined {
  if (keyword === 'required') return 'is required'
  if (keyword === 'additionalProperties') return 'is not a known field'
  if (keyword === undefined) return 'is not a parameter of this call, is empty, or is not percent-encoded'
  if (path === '/body') return 'must be an object'
  if (path === '/body/events') return 'must be an array of 1 to 1000 events'
  const name = path.slice(path.lastIndexOf('/') + 1)
  const parameter = Object.values(document.components.parameters).find((candidate) => candidate.name.toLowerCase() === name)
  return parameter === undefined ? undefined : resolve(document, parameter.schema)['x-message']
}
