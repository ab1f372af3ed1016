/**
 * Frames to messages (PROTOCOL.md, "Frames").
 *
 * Owns the reader's side of the codec. A message that is not understood is left out, since a newer
 * server may say what this client does not know; a frame that can't be read at all is a violation.
 */

import { readPosition } from '../position/position.ts'
import { fromBase64, textOf } from './bytes.ts'
import type { ServerMessage } from './messages.ts'

/**
 * What is relied on of each type: fields by the first letter of their JavaScript type or `p` for a
 * position, which goes into the next `hello`; `?` if they may be absent. Other fields are only handed on, so a server that gets them wrong misleads nobody else.
 */
const SHAPES: Record<string, string> = {
  welcome:
    'session:s resumed:b acked:n inflight_max:n session_ttl_ms:n ping_interval_ms:n pong_timeout_ms:n message_bytes_max:n max_reconnect_attempts:n',
  subscribed: 'channel:s position:p?',
  unsubscribed: 'channel:s',
  message: 'channel:s position:p?',
  acked: 'seq:n',
  reply: 'seq:n?',
  error: 'seq:n? code:s retry_after_ms:n?',
  gap: 'channel:s position:p?',
  reconnect: 'after_ms:n',
  expiring: '',
  ping: 'ts:n?',
  pong: '',
}

/** The messages of a frame in order, or nothing where it can't be read. */
export function decode(frame: string | ArrayBuffer | Uint8Array): ServerMessage[] | undefined {
  try {
    if (typeof frame === 'string') return decodeText(frame)
    const bytes = new Uint8Array(frame)
    const end = bytes.indexOf(10)
    if (end < 0) return undefined
    return read(textOf(bytes.subarray(0, end)), bytes.subarray(end + 1))
  } catch {
    return undefined
  }
}

function decodeText(frame: string): ServerMessage[] | undefined {
  if (!frame.trim()) return undefined
  try {
    return frame.split('\n').flatMap((line) => read(line))
  } catch {
    // Objects may also be separated, and broken up, by other white space: outside of texts two braces
    // meet only between objects.
    const marked = frame.replace(/("(?:[^"\\]|\\.)*")|}\s*{/g, (_, text) => text ?? '}\0{')
    return marked.split('\0').flatMap((text) => read(text))
  }
}

/** One object; nothing where it is no message that this client knows. Throws where it is no JSON. */
function read(text: string, payload?: Uint8Array): ServerMessage[] {
  if (!text.trim()) return []
  const fields = JSON.parse(text) as Record<string, unknown>
  const type = fields?.type as string
  if (!Object.hasOwn(SHAPES, type)) return []
  for (const name of Object.keys(fields)) if (fields[name] === null) delete fields[name]
  for (const [, name, kind] of SHAPES[type]?.matchAll(/(\w+):(\S+)/g) ?? []) {
    if (!fits(fields[name as string], kind as string)) return []
  }
  for (const entry of Object.values(fields.subscriptions ?? {})) {
    if (!entry || !fits(entry.position ?? undefined, 'p?')) return []
  }
  if (type === 'message' || type === 'reply') {
    const { data = null, data_b64 } = fields
    // They are in `data` alone, which is what logs leave out.
    delete fields.data_b64
    fields.data = payload ?? (typeof data_b64 === 'string' ? fromBase64(data_b64) : data)
    if (fields.data === undefined) return []
  } else if (typeof fields.ts === 'number') fields.ts = String(fields.ts)
  return [fields as unknown as ServerMessage]
}

function fits(value: unknown, kind: string): boolean {
  if (value === undefined) return kind.endsWith('?')
  if (kind[0] === 'p') return readPosition(value) !== undefined
  if (kind[0] === 'n') return Number.isSafeInteger(value) && (value as number) >= 0
  return (typeof value)[0] === kind
}
