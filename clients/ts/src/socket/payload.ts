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
  if (ArrayBuffer.isView(data)) {
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice()
  }
  if (!isA(data, /^(Shared)?ArrayBuffer$/)) return undefined
  return new Uint8Array(data as ArrayBuffer).slice()
}

/** Whether its bytes can only be read later. */
export function isBlob(data: unknown): data is Blob {
  // That of React Native has no name.
  return (globalThis.Blob && data instanceof Blob) || isA(data, /^(Blob|File)$/)
}

/** By its name: what comes from another frame has classes of its own. */
function isA(data: unknown, name: RegExp): boolean {
  return name.test(Object.prototype.toString.call(data).slice(8, -1))
}

/** How many bytes it has on the wire. */
export function sizeOf(data: Data): number {
  if (typeof data === 'string') return utf8Length(data)
  return 'size' in data ? data.size : data.byteLength
}
