/**
 * Frames to messages (PROTOCOL.md, "Frames").
 *
 * Owns the reader's side of the codec. A message that is not understood is left out, since a newer
 * server may say what this client does not know; a frame that can't be read at all is a violation.
 */

import { readPosition } from '../position/position.ts'
import { fromBase64, textOf } from './bytes.ts'
import type { ServerMessage } from './messages.ts'

/** Required fields of each type by the first letter of their JavaScript type; `?` if optional. */
const SHAPES: Record<string, string> = {
  welcome:
    'session:s resumed:b acked:n inflight_max:n session_ttl_ms:n ping_interval_ms:n pong_timeout_ms:n message_bytes_max:n max_reconnect_attempts:n subscriptions:o? connection:s? reason:s?',
  subscribed: 'channel:s recovered:b? reason:s? position:p?',
  unsubscribed: 'channel:s code:s?',
  message: 'channel:s position:p? user:s? tag:s?',
  acked: 'seq:n',
  reply: 'seq:n?',
  error: 'code:s message:s? retry:b? retry_after_ms:n? seq:n?',
  gap: 'channel:s reason:s position:p? missed:n?',
  reconnect: 'after_ms:n reason:s url:s?',
  expiring: 'in_ms:n',
  ping: '',
  pong: '',
}

const ECHO = /"(ts|id)"\s*:\s*("(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*)/g

/** The messages of a frame in order, or nothing where it can't be read. */
export function decode(frame: string | ArrayBuffer | Uint8Array): ServerMessage[] | undefined {
  try {
    if (typeof frame === 'string') return decodeText(frame)
    const bytes = new Uint8Array(frame)
    const end = bytes.indexOf(10)
    if (end < 0) return undefined
    return known(read(textOf(bytes.subarray(0, end)), bytes.subarray(end + 1)))
  } catch {
    return undefined
  }
}

function decodeText(frame: string): ServerMessage[] | undefined {
  let lines: string[] = frame.split('\n').filter((line) => line.trim())
  let messages: (ServerMessage | undefined)[]
  try {
    messages = lines.map((line) => read(line))
  } catch {
    // Objects may also be separated, and broken up, by other white space.
    lines = objects(frame)
    messages = lines.map((line) => read(line))
  }
  return lines.length ? messages.flatMap(known) : undefined
}

function known(message: ServerMessage | undefined): ServerMessage[] {
  return message ? [message] : []
}

/** One object; nothing where it is no message that this client knows. Throws where it is no JSON. */
function read(text: string, payload?: Uint8Array): ServerMessage | undefined {
  const fields: Record<string, unknown> | null = JSON.parse(text)
  const type = fields?.type
  const shape = typeof type === 'string' && Object.hasOwn(SHAPES, type) ? SHAPES[type] : undefined
  if (shape === undefined || !fields) return undefined
  for (const rule of shape ? shape.split(' ') : []) {
    const [name, kind] = rule.split(':') as [string, string]
    const value = fields[name]
    if (value === null || value === undefined) {
      delete fields[name]
      if (!kind.endsWith('?')) return undefined
    } else if (!fits(value, kind[0] as string)) return undefined
  }
  if (type === 'message' || type === 'reply') {
    if (payload) fields.data = payload
    else if (typeof fields.data_b64 === 'string') {
      fields.data = fromBase64(fields.data_b64)
      if (!fields.data) return undefined
    } else fields.data ??= null
  } else if (type === 'ping' || type === 'pong' || fields.id !== undefined) {
    keepEchoes(fields, text)
  }
  if (type === 'reply' && fields.id !== undefined) fields.id = JSON.stringify(fields.id)
  return fields as unknown as ServerMessage
}

/** `ts` and `id` are answered to the byte, so they stay the text that came. */
function keepEchoes(fields: Record<string, unknown>, text: string): void {
  if (fields.ts === undefined && fields.id === undefined) return
  for (const [, name, value] of text.matchAll(ECHO)) fields[name as string] = value
}

function fits(value: unknown, kind: string): boolean {
  if (kind === 'n') return Number.isSafeInteger(value) && (value as number) >= 0
  if (kind === 'p') return readPosition(value) !== undefined
  return (typeof value)[0] === kind
}

/** The texts of the objects of a frame, by their brackets. */
function objects(frame: string): string[] {
  const texts: string[] = []
  let depth = 0
  let start = 0
  for (const { 0: token, index } of frame.matchAll(/"(?:[^"\\]|\\[\s\S])*"|[[\]{}]/g)) {
    if (token[0] === '"') continue
    if (token === '{' || token === '[') depth++
    else if (--depth === 0) {
      texts.push(frame.slice(start, index + 1))
      start = index + 1
    }
  }
  const rest = frame.slice(start)
  return rest.trim() ? [...texts, rest] : texts
}
