import { Decoder } from 'socket.io-parser'

/**
 * The parser's decoder with what it must refuse before anybody is known: attachments (each unfinished one holds megabytes), and a second
 * CONNECT on one connection (a thousand of them would be a thousand sessions with one login). What it throws closes the connection.
 */
export class GuardedDecoder extends Decoder {
  #connects = 0

  constructor() {
    super({ maxAttachments: 0 })
  }

  override add(packet: unknown): void {
    if (typeof packet !== 'string') throw new Error('binary packets are not part of the protocol')
    if (packet.startsWith('0') && ++this.#connects > 1) throw new Error('one CONNECT per connection')
    super.add(packet)
  }
}
