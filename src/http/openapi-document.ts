export interface Reference {
  readonly $ref: string
}

export interface Schema {
  readonly type?: string | readonly string[]
  readonly description?: string
  readonly properties?: Readonly<Record<string, Schema | Reference>>
  readonly required?: readonly string[]
  readonly items?: Schema | Reference
  readonly oneOf?: readonly (Schema | Reference)[]
  readonly enum?: readonly unknown[]
  readonly const?: unknown
  readonly default?: unknown
  readonly minimum?: number
  readonly maximum?: number
  readonly maxItems?: number
  /** What to tell a caller whose value is not valid. */
  readonly 'x-message'?: string
}

export interface Parameter {
  readonly name: string
  readonly in: 'path' | 'query' | 'header'
  readonly required?: boolean
  readonly description?: string
  readonly schema: Schema | Reference
  readonly example?: unknown
}

interface MediaType {
  readonly schema?: Schema | Reference
  readonly example?: unknown
}

interface ResponseObject {
  readonly description: string
  readonly content?: Readonly<Record<string, MediaType>>
}

export interface Operation {
  readonly summary: string
  readonly description?: string
  readonly tags: readonly string[]
  readonly security?: readonly Readonly<Record<string, readonly string[]>>[]
  readonly parameters?: readonly (Parameter | Reference)[]
  requestBody?: { required?: boolean; readonly description?: string; readonly content: Readonly<Record<string, MediaType>> }
  readonly responses: Readonly<Record<string, ResponseObject | Reference>>
}

export const methods = ['get', 'head', 'put', 'post', 'delete'] as const

type PathItem = { readonly parameters?: readonly (Parameter | Reference)[] } & { [method in (typeof methods)[number]]?: Operation }

export interface OpenapiDocument {
  readonly info: { readonly title: string; readonly version: string; readonly description: string }
  readonly servers: readonly { readonly url: string }[]
  readonly tags: readonly { readonly name: string; readonly description: string }[]
  readonly paths: Readonly<Record<string, PathItem>>
  readonly components: {
    readonly schemas: Readonly<Record<string, Schema>>
    readonly parameters: Readonly<Record<string, Parameter>>
    readonly responses: Readonly<Record<string, ResponseObject>>
  }
}

/** The thing itself, where the document only points to one of its components. */
export function resolve<T extends object>(document: OpenapiDocument, value: T | Reference): T {
  if (!('$ref' in value)) return value
  const keys = value.$ref.slice('#/'.length).split('/')
  const found = keys.reduce<unknown>((at, key) => (at as Readonly<Record<string, unknown>> | undefined)?.[key], document)
  if (found === undefined) throw new Error(`openapi.yaml points to ${value.$ref}, which is not there`)
  return resolve(document, found as T | Reference)
}
