import { type Headers, intact } from './headers.ts'

/** What a converted AMQP 1.0 message has for a type; it says nothing about the event. */
export const amqp10Type = 'amqp-1.0'

// Spring names the class of whatever it converted: a map or a JSON tree has a class of a library, which is nobody's event.
const libraryClass = /^(?:javax?|jdk|kotlin|scala|com\.fasterxml|tools\.jackson)\./
const javaClass = /^[\p{L}\p{N}_.$]+$/u

/** The event by the type of the message: the property `type`, Symfony's header `type`, or the simple name of the class in Spring's `__TypeId__`. */
export function eventOfType(type: unknown, headers: Headers): string | undefined {
  if (isText(type) && type !== amqp10Type) return intact('the property type', type)
  const header = headers.get('type')
  if (isText(header)) return intact('the header type', header)
  const typeId = headers.get('__typeid__')
  if (!isText(typeId) || libraryClass.test(typeId) || !javaClass.test(typeId)) return undefined
  return typeId.slice(Math.max(typeId.lastIndexOf('.'), typeId.lastIndexOf('$')) + 1)
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}
