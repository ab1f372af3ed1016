/**
 * What an application hands over to be sent.
 *
 * Owns the copies: what waits must not change with the application's buffer.
 */

import { utf8Length } from '../codec/bytes.ts'

/** What a WebSocket sends. */
export type Data = string | ArrayBufferLike | Blob | ArrayBufferView<ArrayBufferLike>

/** The bytes as they are now; nothing where these are none. */
export function copyOf(data: unknown): Uint8Array<ArrayBuffer> | undefined {
  if (data instanceof ArrayBuffer) return new Uint8Array(data.slice(0))
  if (!ArrayBuffer.isView(data)) return undefined
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice()
}

/** Whether its bytes can only be read later. */
export function isBlob(data: unknown): data is Blob {
  return globalThis.Blob !== undefined && data instanceof Blob
}

/** How many bytes it has on the wire. */
export function sizeOf(data: Data): number {
  if (typeof data === 'string') return utf8Length(data)
  return 'size' in data ? data.size : data.byteLength
}
