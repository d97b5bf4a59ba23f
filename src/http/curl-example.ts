import type { Operation, Parameter } from './openapi-document.ts'

/** A command line that makes this call at the bridge of this address; the key is taken from the environment, so that it stands in no history. */
export function toCurl(base: string, method: string, path: string, operation: Operation, parameters: readonly Parameter[]): string {
  const filledPath = parameters
    .filter((parameter) => parameter.in === 'path')
    .reduce((filled, { name, example }) => filled.replace(`{${name}}`, encodeURIComponent(String(example ?? name))), path)
  const [body] = Object.entries(operation.requestBody?.content ?? {})
  const switches = { get: [], head: ['--head'] }[method] ?? [`-X ${method.toUpperCase()}`]
  return [
    `curl ${[...switches, `${base}${filledPath}`].join(' ')}`,
    ...(operation.security?.length === 0 ? [] : ['-H "Authorization: Bearer $SIDECAST_API_KEY"']),
    ...(body === undefined ? [] : [`-H 'Content-Type: ${body[0]}'`, `-d '${JSON.stringify(body[1].example).replaceAll("'", "'\\''")}'`]),
  ].join(' \\\n  ')
}
