/**
 * Messages to frames (PROTOCOL.md, "Frames").
 *
 * Owns the writer's side of the codec. Fields stand in the order in which the message has them.
 */

import { utf8 } from './bytes.ts'
import type { ClientMessage } from './messages.ts'

/** The frame of a message: text, or header, LF and payload in a binary one. */
export function encode(message: ClientMessage): string | Uint8Array {
  let payload: Uint8Array | undefined
  const fields: string[] = []
  for (const [name, value] of Object.entries(message)) {
    if (value === undefined) continue
    if (value instanceof Uint8Array) payload = value
    // Both are JSON text already.
    else if (name === 'data' || name === 'ts') fields.push(`"${name}":${value}`)
    else fields.push(`"${name}":${JSON.stringify(value)}`)
  }
  const text = `{${fields.join()}}`
  if (!payload) return text
  const header = utf8(`${text}\n`)
  const frame = new Uint8Array(header.length + payload.length)
  frame.set(header)
  frame.set(payload, header.length)
  return frame
}
