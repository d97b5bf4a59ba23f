import type { DraftParser } from '../core/draft.ts'
import type { Instruction } from '../core/instruction.ts'
import type { RevocationParser } from '../core/revocation-request.ts'
import { BridgeError } from '../errors.ts'
import type { Addressing } from './addressing.ts'
import { type Body, type BodyProperties, parseBody } from './body.ts'
import { readCloudEvent } from './cloud-event.ts'
import { readCommand, readRevocation } from './command.ts'
import { readHeaderForm } from './header-form.ts'
import { type Headers, intact, toHeaders, toText } from './headers.ts'
import { parseRoutingKey } from './routing-key.ts'
import { eventOfType } from './type-name.ts'

/** A message as the broker delivers it, as far as it is read. */
export interface Delivery {
  readonly content: Buffer
  readonly fields: { readonly routingKey: string; readonly exchange: string; readonly redelivered: boolean }
  readonly properties: BodyProperties & { readonly messageId?: unknown; readonly headers?: Readonly<Record<string, unknown>> | undefined }
}

export type MessageParser = (message: Delivery) => Instruction

export interface MessageParserOptions {
  readonly parseDraft: DraftParser
  readonly parseRevocation: RevocationParser
  readonly maxEventBytes: number
}

/** Room for the rest of an envelope, and for the escapes of JSON inside a JSON string; the event itself is measured by the gate. */
const bodyAllowance = { factor: 2, bytes: 64 * 1024 }

/**
 * Reads the forms in which applications publish, the first match wins: a command, a CloudEvent, `sidecast-*` headers, an envelope, the routing key.
 * The parser throws a BridgeError for what can never be delivered, and nothing else.
 */
export function createMessageParser({ parseDraft, parseRevocation, maxEventBytes }: MessageParserOptions): MessageParser {
  const maxBodyBytes = maxEventBytes * bodyAllowance.factor + bodyAllowance.bytes

  return ({ content, fields: { routingKey }, properties }) => {
    const headers = toHeaders(properties.headers)
    const said = readHeaderForm(headers)

    let parsed: Body | undefined
    const body = (): Body => {
      parsed ??= parseBody(content, properties, maxBodyBytes)
      return parsed
    }
    if (headers.has('sidecast-command')) {
      const name = toText({ name: 'sidecast-command', value: headers.get('sidecast-command') })
      return name === 'revoke' ? readRevocation(said, () => body().value, parseRevocation) : readCommand(name, said, parseDraft)
    }

    const id = toId(properties.messageId)
    const toInstruction = (form: string, draft: unknown): Instruction => {
      try {
        return { kind: 'event', draft: parseDraft(draft) }
      } catch (error) {
        // Which form was recognised is half of the answer.
        if (!(error instanceof BridgeError)) throw error
        throw new BridgeError(error.code, `${error.message} (in ${form})`, { errors: error.errors })
      }
    }

    const cloudEvent = readCloudEvent(properties.contentType, headers, body)
    if (cloudEvent !== undefined) {
      const target = cloudEvent.addressing.to ?? said?.to ?? parseRoutingKey(routingKey)?.to
      if (target === undefined) throw noTarget(routingKey, 'it is a CloudEvent without sidecastusers and sidecastrooms')
      return toInstruction('a CloudEvent', toDraft({ ...said, ...cloudEvent.addressing, to: target }, cloudEvent.data, cloudEvent.id))
    }

    const { value, unwrapped } = body()
    if (said === undefined && isEnvelope(value)) {
      const address = unwrapped ? parseRoutingKey(routingKey) : undefined
      // Text that somebody typed into the application must not choose its own receivers.
      if (address === undefined) return toInstruction('an envelope', id === undefined ? value : { id, ...value })
    }

    const address = said?.to !== undefined && said.event !== undefined ? undefined : parseRoutingKey(routingKey)
    const to = said?.to ?? address?.to
    if (to === undefined) throw noTarget(routingKey, 'there are no sidecast-* headers that do, and the body is no object with event and to')
    const event = said?.event ?? address?.event ?? eventOfType(properties.type, headers)
    if (event === undefined) throw noEvent(routingKey, headers)
    const form = said === undefined ? `the routing key ${JSON.stringify(routingKey)}` : 'sidecast-* headers'
    return toInstruction(form, toDraft({ ...said, to, event }, value, id))
  }
}

function toDraft(addressing: Addressing, data: unknown, id: string | undefined): unknown {
  return { ...addressing, ...(data === undefined ? {} : { data }), ...(id === undefined ? {} : { id }) }
}

/** Some clients send an empty one when none was set. */
function toId(messageId: unknown): string | undefined {
  return typeof messageId === 'string' && messageId !== '' ? intact('the message_id', messageId) : undefined
}

function isEnvelope(value: unknown): value is { readonly event: unknown; readonly to: unknown } {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, 'event') && Object.hasOwn(value, 'to')
}

function noTarget(routingKey: string, besides: string): BridgeError {
  return new BridgeError(
    'no_target',
    `nobody is named: the routing key ${JSON.stringify(routingKey)} is not user.<id>.<event>, room.<name>.<event> or all.<event>, and ${besides}`,
  )
}

function noEvent(routingKey: string, headers: Headers): BridgeError {
  const hint = headers.has('__typeid__') ? '; __TypeId__ names a class of a library' : ''
  return new BridgeError(
    'invalid_event',
    `no event is named: the routing key ${JSON.stringify(routingKey)} ends before it, and neither sidecast-event nor a type says it${hint}`,
  )
}
