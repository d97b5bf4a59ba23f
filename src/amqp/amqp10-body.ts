import { BridgeError } from '../errors.ts'

// AMQP 1.0, 1.6 and 3.2.6 to 3.2.8: a section is 00 53, its kind, then the format code of a value and the value.
const data = 0x75
const value = 0x77
const shortBinaryOrText = [0xa0, 0xa1]
const longBinaryOrText = [0xb0, 0xb1]

/** The bytes or the text in the body of a message that RabbitMQ has converted from AMQP 1.0; JMS sends text so. @throws BridgeError unsupported_message */
export function fromAmqp10(content: Buffer): Buffer {
  const [zero, smallUlong, kind, format = 0] = content
  if (zero === 0 && smallUlong === 0x53 && (kind === data || kind === value)) {
    if (shortBinaryOrText.includes(format) && content.length >= 5 && content.length === 5 + content.readUInt8(4)) return content.subarray(5)
    if (longBinaryOrText.includes(format) && content.length >= 8 && content.length === 8 + content.readUInt32BE(4)) return content.subarray(8)
  }
  throw new BridgeError('unsupported_message', 'the body is an AMQP 1.0 value; send one data section or one string, with JSON in it')
}
