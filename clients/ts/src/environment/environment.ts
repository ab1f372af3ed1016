/**
 * Everything that a client needs of its surroundings, so that it runs in any of them.
 *
 * Owns the interface and its default, made of whatever the globals offer. No DOM is assumed.
 */

import type { Hint } from '../machine/contract.ts'
import { platformHints } from './hints.ts'

/**
 * What makes a WebSocket: the platform's, or one that behaves like it, as that of the package `ws`
 * does, whose types are its own.
 */
// biome-ignore lint/suspicious/noExplicitAny: types of other packages can't be named here.
export type WebSocketConstructor = new (url: string, protocols?: string | string[]) => any

/**
 * A hint, or `frozen`: the page may go into a cache, and browsers keep none that has a link; or
 * `thawed`: it comes back from there, and its links are gone.
 */
export type EnvironmentHint = Hint | 'frozen' | 'thawed'

/** The surroundings of a client. */
export interface Environment {
  /** What links are made with. */
  WebSocket: WebSocketConstructor | undefined
  /** Monotonic time in microseconds, from any origin. */
  now(): number
  /** Milliseconds since 1970. */
  wallMs(): number
  setTimeout(call: () => void, ms: number): unknown
  clearTimeout(timer: unknown): void
  /** Asked why an upgrade failed; without it nothing is asked. */
  fetch: typeof fetch | undefined
  /** For the secret of the session; without it the server draws one. */
  randomBytes: ((count: number) => Uint8Array) | undefined
  /** Calls the listener on each reason to look at the link, until the answer is called. */
  hints(listener: (hint: EnvironmentHint) => void): () => void
}

/** The surroundings that the globals offer, with some parts replaced. */
export function detectEnvironment(replaced: Partial<Environment> = {}): Environment {
  const { WebSocket, performance, fetch, crypto } = globalThis
  let last = 0
  return {
    WebSocket,
    now() {
      const ms = performance ? performance.now() : Date.now()
      last = Math.max(last, Math.floor(ms * 1000))
      return last
    },
    wallMs: () => Date.now(),
    setTimeout: (call, ms) => setTimeout(call, ms),
    clearTimeout: (timer) => clearTimeout(timer as number),
    fetch: fetch?.bind(globalThis),
    randomBytes: crypto?.getRandomValues
      ? (count) => crypto.getRandomValues(new Uint8Array(count))
      : undefined,
    hints: platformHints,
    ...replaced,
  }
}
