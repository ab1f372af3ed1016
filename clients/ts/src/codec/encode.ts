/**
 * Messages to frames (PROTOCOL.md, "Frames").
 *
 * Owns the writer's side of the codec. Fields stand in the order in which the message has them.
 */

import { utf8 } from './bytes.ts'
import type { ClientMessage, Payload } from './messages.ts'

/** Levels that a payload may nest: the protocol's 128 are the frame's, whose object is the first. */
const DATA_NESTING_MAX = 127

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

/** Whether a server would refuse the frame for this payload, a JSON text or bytes: `too_deep`. */
export function isTooDeep(data: Payload): boolean {
  if (typeof data !== 'string') return false
  let depth = 0
  let inString = false
  for (let at = 0; at < data.length; at++) {
    const char = data[at] as string
    // JSON escapes in strings only.
    if (char === '\\') at++
    else if (char === '"') inString = !inString
    else if (!inString && '[{'.includes(char) && ++depth > DATA_NESTING_MAX) return true
    else if (!inString && ']}'.includes(char)) depth--
  }
  return false
}
