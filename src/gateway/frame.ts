/** A Socket.IO packet, encoded once for all sessions that get it. */
export interface Frame {
  /** The Socket.IO packet as text, for long-polling. */
  readonly packet: string
  /** Options of engine.io's `write`, shared by all recipients: the ready WebSocket frame spares it encoding the text again for each. */
  readonly options: { readonly compress: false; readonly wsPreEncodedFrame: readonly [Buffer] }
}

/** An EVENT packet. `data` is JSON text. The offset goes last: the stock client keeps the last argument of each event when it is a string. */
export function encodeFrame(event: string, data: string, offset: string): Frame {
  const packet = `2[${JSON.stringify(event)},${data},"${offset}"]`
  return { packet, options: { compress: false, wsPreEncodedFrame: [toTextFrame(`4${packet}`)] } }
}

/** One unmasked text frame (RFC 6455 5.2), header and payload in one buffer, so that it is one write. */
function toTextFrame(text: string): Buffer {
  const length = Buffer.byteLength(text)
  const headerLength = length < 126 ? 2 : length < 65_536 ? 4 : 10
  const frame = Buffer.allocUnsafe(headerLength + length)
  frame[0] = 0x81
  if (headerLength === 2) frame[1] = length
  else if (headerLength === 4) {
    frame[1] = 126
    frame.writeUInt16BE(length, 2)
  } else {
    frame[1] = 127
    frame.writeBigUInt64BE(BigInt(length), 2)
  }
  frame.write(text, headerLength)
  return frame
}
