/**
 * UTF-8 and base64 without the platform: some JavaScript runtimes have neither `TextEncoder` nor
 * `atob`. Used for headers and rare fields only, never for bulk.
 */

/** How many bytes a text has in UTF-8. A lone surrogate counts as its replacement, 3. */
export function utf8Length(text: string): number {
  let bytes = text.length
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at)
    if (unit > 0x7f) bytes += unit > 0x7ff ? 2 : 1
    // The second half of a pair: both halves together are 4 bytes, 6 were counted.
    if (unit >= 0xdc00 && unit < 0xe000 && text.charCodeAt(at - 1) >>> 10 === 0x36) bytes -= 2
  }
  return bytes
}

/** A text as UTF-8. */
export function utf8(text: string): number[] {
  const parts = encodeURIComponent(text).match(/%..|./g) ?? []
  return parts.map((part) =>
    part.length > 1 ? Number.parseInt(part.slice(1), 16) : part.charCodeAt(0),
  )
}

/** UTF-8 as text. Throws where it is none. */
export function textOf(bytes: Uint8Array): string {
  let escaped = ''
  for (const byte of bytes) escaped += `%${(byte + 256).toString(16).slice(1)}`
  return decodeURIComponent(escaped)
}

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'

/** Standard base64 with padding (RFC 4648, section 4), or nothing where it is malformed. */
export function fromBase64(text: string): Uint8Array | undefined {
  if (text.length % 4 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return undefined
  const bytes: number[] = []
  let bits = 0
  let count = 0
  for (const letter of text.replace(/=+$/, '')) {
    bits = ((bits << 6) | ALPHABET.indexOf(letter)) & 0xffff
    count += 6
    if (count >= 8) {
      count -= 8
      bytes.push((bits >> count) & 0xff)
    }
  }
  return Uint8Array.from(bytes)
}
