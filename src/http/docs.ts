import { hash } from 'node:crypto'
import { apiPageStyle, renderApiPage } from './api-page.ts'
import type { OpenapiDocument } from './openapi-document.ts'
import type { Route } from './route.ts'

export function docsRoutes(document: OpenapiDocument, text: string): readonly Route[] {
  const page = renderApiPage(document)
  const policy = `default-src 'none'; style-src 'sha256-${hash('sha256', apiPageStyle, 'base64')}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`
  return [
    // RFC 9512.
    { method: 'get', path: '/openapi.yaml', handle: (_request, response) => void response.type('application/yaml').send(text) },
    {
      method: 'get',
      path: '/docs',
      handle: (_request, response) => void response.set('Content-Security-Policy', policy).type('text/html').send(page),
    },
  ]
}
