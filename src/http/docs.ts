import { hash } from 'node:crypto'
import { apiPageStyle, renderApiPage } from './api-page.ts'
import type { OpenapiDocument } from './openapi-document.ts'
import type { IngressRequest, Route } from './route.ts'

export function docsRoutes(document: OpenapiDocument, text: string): readonly Route[] {
  const policy = `default-src 'none'; style-src 'sha256-${hash('sha256', apiPageStyle, 'base64')}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`
  return [
    // RFC 9512.
    { method: 'get', path: '/openapi.yaml', handle: (_request, response) => void response.type('application/yaml').send(text) },
    {
      method: 'get',
      path: '/docs',
      handle: (request, response) => {
        response.set('Content-Security-Policy', policy).set('Vary', 'Host').type('text/html')
        response.send(renderApiPage(document, addressOf(request) ?? document.servers[0]?.url ?? ''))
      },
    },
  ]
}

/** What the reader has typed, so that a command that is copied reaches the same bridge; only what can stand in a command as it is. */
function addressOf({ protocol, headers: { host } }: IngressRequest): string | undefined {
  return host !== undefined && /^(?:[A-Za-z0-9.-]+|\[[\dA-Fa-f:.]+\])(?::\d{1,5})?$/.test(host) ? `${protocol}://${host}` : undefined
}
