import { Decoder } from 'socket.io-parser'

/**
 * The parser's decoder with what it must refuse before anybody is known: binary packets (each unfinished one holds megabytes), and a second
 * CONNECT on one connection (a thousand of them would be a thousand sessions with one login). What it throws closes the connection.
 */
export class GuardedDecoder extends Decoder {
  #connects = 0

  override add(packet: unknown): void {
    // The parser takes the first character for a number, and white space is zero to it, a CONNECT.
    if (typeof packet !== 'string' || !/^[0-4]/.test(packet)) throw new Error('not a packet of the protocol')
    if (packet.startsWith('0') && ++this.#connects > 1) throw new Error('one CONNECT per connection')
    super.add(packet)
  }
}
