import { toCurl } from './curl-example.ts'
import { methods, type OpenapiDocument, type Operation, type Parameter, type Reference, resolve, type Schema } from './openapi-document.ts'

/** openapi.yaml as a page without scripts and without anything from another host. `base`: where the reader has reached the bridge. */
export function renderApiPage(document: OpenapiDocument, base: string): string {
  const operations = Object.entries(document.paths).flatMap(([path, item]) =>
    methods.flatMap((method) => {
      const operation = item[method]
      return operation === undefined ? [] : [{ method, path, operation, parameters: [...(item.parameters ?? []), ...(operation.parameters ?? [])] }]
    }),
  )
  const sections = document.tags.map(({ name, description }) => {
    const own = operations.filter(({ operation }) => operation.tags.includes(name))
    return `<section><h2 id="${escapeHtml(name)}">${escapeHtml(name)}</h2><p>${inline(description)}</p>${own.map((call) => renderCall(document, base, call)).join('')}</section>`
  })
  const contents = document.tags.map(({ name }) => `<a href="#${escapeHtml(name)}">${escapeHtml(name)}</a>`)
  const schemas = Object.entries(document.components.schemas).map(
    ([name, schema]) =>
      `<article id="schema-${escapeHtml(name)}"><h3>${escapeHtml(name)}</h3>${paragraphs(schema.description)}${renderSchema(schema)}</article>`,
  )
  const { title, version, description } = document.info
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title><style>${apiPageStyle}</style></head><body><main>
<h1>${escapeHtml(title)} <small>${escapeHtml(version)}</small></h1>${paragraphs(description)}
<nav>${[...contents, '<a href="#schemas">Schemas</a>', '<a href="/openapi.yaml">openapi.yaml</a>'].join(' ')}</nav>
${sections.join('\n')}
<section><h2 id="schemas">Schemas</h2>${schemas.join('')}</section></main></body></html>`
}

interface Call {
  readonly method: string
  readonly path: string
  readonly operation: Operation
  readonly parameters: readonly (Parameter | Reference)[]
}

function renderCall(document: OpenapiDocument, base: string, { method, path, operation, parameters }: Call): string {
  const known = parameters.map((parameter) => resolve(document, parameter))
  const bodies = Object.entries(operation.requestBody?.content ?? {})
  const answers = Object.entries(operation.responses).map(([status, reference]) => {
    const { description, content } = resolve(document, reference)
    return [
      `<code>${status}</code>`,
      `${inline(description)} ${Object.values(content ?? {})
        .map(({ schema }) => renderType(schema))
        .join(' ')}`,
    ]
  })
  return `<article><h3><code class="${method}">${method.toUpperCase()}</code> <code>${escapeHtml(path)}</code></h3>
<p><strong>${escapeHtml(operation.summary)}.</strong> ${renderScope(operation)}</p>${paragraphs(operation.description)}
${renderTable(known.map((parameter) => [`<code>${escapeHtml(parameter.name)}</code> ${parameter.in}`, `${inline(parameter.description ?? '')} ${renderType(parameter.schema)}`]))}
${bodies.map(([type, { schema }]) => `<p>Body: <code>${escapeHtml(type)}</code> ${renderType(schema)}</p>`).join('')}
<pre>${escapeHtml(toCurl(base, method, path, operation, known))}</pre>
${renderTable(answers)}</article>`
}

function renderScope({ security }: Operation): string {
  const scopes = new Set(security?.flatMap((requirement) => Object.values(requirement).flat()))
  if (security?.length === 0) return 'No key.'
  const open = security?.some((requirement) => Object.keys(requirement).length === 0)
  return `${open ? 'A key when configured so; scope' : 'Scope'} ${[...scopes].map((scope) => `<code>${escapeHtml(scope)}</code>`).join(', ')}.`
}

function renderSchema(schema: Schema): string {
  const rows = Object.entries(schema.properties ?? {}).map(([name, property]) => {
    const required = schema.required?.includes(name) ? ' required' : ''
    const description = 'description' in property && property.description !== undefined ? inline(property.description) : ''
    return [`<code>${escapeHtml(name)}</code>${required}`, `${renderType(property)} ${description}`]
  })
  return rows.length > 0 ? renderTable(rows) : `<p>${renderType(schema)}</p>`
}

function renderType(schema: Schema | Reference | undefined): string {
  if (schema === undefined) return ''
  if ('$ref' in schema) {
    const name = escapeHtml(schema.$ref.split('/').at(-1) ?? '')
    return `<a href="#schema-${name}">${name}</a>`
  }
  if (schema.oneOf !== undefined) return schema.oneOf.map(renderType).join(' or ')
  const values = schema.enum ?? (schema.const === undefined ? undefined : [schema.const])
  const parts = [
    values === undefined
      ? escapeHtml([schema.type ?? 'any JSON'].flat().join(' or '))
      : values.map((value) => `<code>${escapeHtml(String(value))}</code>`).join(', '),
    ...(schema.items === undefined ? [] : [`of ${renderType(schema.items)}`]),
    ...(schema.maxItems === undefined ? [] : [`(at most ${schema.maxItems})`]),
    ...(schema.default === undefined ? [] : [`(default <code>${escapeHtml(String(schema.default))}</code>)`]),
    ...(schema['x-message'] === undefined ? [] : [`– ${escapeHtml(schema['x-message'])}`]),
  ]
  return `<span>${parts.join(' ')}</span>`
}

function renderTable(rows: readonly (readonly string[])[]): string {
  return rows.length === 0 ? '' : `<table>${rows.map((cells) => `<tr>${cells.map((cell) => `<td>${cell}</td>`).join('')}</tr>`).join('')}</table>`
}

function paragraphs(text: string | undefined): string {
  return (text ?? '')
    .split(/\n\s*\n/)
    .filter((paragraph) => paragraph.trim() !== '')
    .map((paragraph) => `<p>${inline(paragraph)}</p>`)
    .join('')
}

/** Text in which backquotes mark code. */
function inline(text: string): string {
  return escapeHtml(text).replaceAll(/`([^`]+)`/g, '<code>$1</code>')
}

function escapeHtml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
}

export const apiPageStyle = `
:root{color-scheme:light dark}
body{margin:0;font:16px/1.5 system-ui,sans-serif}
main{max-width:56rem;margin:0 auto;padding:1rem}
nav{display:flex;flex-wrap:wrap;gap:1rem}
article{margin:1rem 0;padding:.5rem 1rem;border:1px solid #8886;border-radius:.5rem}
h3{overflow-wrap:anywhere}
code,pre{font:.875em ui-monospace,monospace}
code{overflow-wrap:anywhere}
pre{padding:.75rem;overflow-x:auto;background:#8882;border-radius:.25rem}
table{width:100%;border-collapse:collapse}
td{padding:.25rem .5rem .25rem 0;border-top:1px solid #8884;vertical-align:top;overflow-wrap:anywhere}
td:first-child{width:30%}
`
