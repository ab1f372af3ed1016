/**
 * URLs of WebSockets.
 *
 * Owns what the platforms' own `URL` does not do everywhere: React Native's has no parts.
 */

import { domError } from './events.ts'

/** The URL with the scheme of a WebSocket. Throws a `SyntaxError` where it is none, or has a fragment. */
export function absolute(url: string | URL): string {
  const given = `${url}`
  let text = ''
  try {
    const { href } = new URL(given, /^\w+:/.test(given) ? undefined : globalThis.location?.href)
    // React Native's own URL adds a slash to every path, and has no parts that can be relied on.
    const asGiven = href === `${given}/` && /\/\/.*[/?]/.test(given)
    text = (asGiven ? given : href).replace(/^http/, 'ws')
  } catch {
    // Told below.
  }
  if (/^wss?:[^#]+$/.test(text)) return text
  throw domError('SyntaxError', `no URL of a WebSocket: ${url}`)
}

/** Scheme and host, as a message has them. */
export function originOf(url: string): string {
  return withoutSecrets(url).replace(/^(\w+:\/\/[^/]*).*/, '$1')
}

/** Without what may be secret: the name and password of a user, and the query. */
export function withoutSecrets(url: string): string {
  return url.replace(/[?#].*/, '').replace(/\/\/[^/]*@/, '//')
}
