/**
 * The options of a socket: our names, and those of reconnecting-websocket and partysocket.
 *
 * Owns the translation into the machine's options, and the defaults.
 */

import type { Strategy, Verdict } from '../classify/classify.ts'
import type { Environment, WebSocketConstructor } from '../environment/environment.ts'
import { attempt } from '../events/target.ts'
import type { DialerOptions } from '../machine/contract.ts'
import type { Catalogue } from '../recommendation/recommendation.ts'

/** Why a token is wanted. */
export type TokenReason = 'connect' | 'expired' | 'refused' | 'asked'

/** A URL, a promise of one, or what makes one for each dial. */
export type UrlSource =
  | string
  | URL
  | Promise<string | URL>
  | ((context: { token: string | undefined }) => string | URL | Promise<string | URL>)

/** Options for any server. */
export interface SocketOptions {
  /**
   * Failed attempts in a row until only a hint, or one to two minutes, brings the next. Default: what a
   * Bowline server says, else 10. 0: never reconnect.
   */
  maxReconnectAttempts?: number
  /** The same, by the name that other libraries have for it. */
  maxRetries?: number
  /** The ceiling of the delays, in milliseconds. Default 30,000. */
  maxReconnectionDelay?: number
  /** The ceiling of the first delay, in milliseconds. Default 1,000. */
  minReconnectionDelay?: number
  /** By what the ceiling grows. Default 2. */
  reconnectionDelayGrowFactor?: number
  /** After so many milliseconds a link counts as stable. Default 10,000. */
  minUptime?: number
  /** How long a dial may take, in milliseconds. Default 10,000. */
  connectionTimeout?: number
  /** Messages that wait for a link. Default 1,000. */
  maxEnqueuedMessages?: number
  /** Don't connect before `reconnect()`. */
  startClosed?: boolean
  /** Write the log to the console. */
  debug?: boolean
  /** What links are made with, where there is no global one. */
  WebSocket?: WebSocketConstructor | undefined
  /** Brings a token, within 30 s. An error whose `retry` is false blocks; any other, or no answer, is tried again. */
  getToken?: (context: { reason: TokenReason }) => string | undefined | Promise<string | undefined>
  /** The application's own strategy: `usual` is what would be done. */
  strategy?: (verdict: Verdict, usual: Strategy) => Strategy
  /** The words for the end user. Default English. */
  catalogue?: Catalogue
  /** Dial while the page is hidden, too. */
  dialHidden?: boolean
  /** Ask over HTTP why an upgrade failed, from the second failure on. Default true. */
  asksWhy?: boolean
  /**
   * How another server is asked for a sign of life: whatever it sends back is one. After `intervalMs`
   * (30,000) of silence, then after `timeoutMs` (10,000) again; the second miss ends the link.
   */
  heartbeat?: {
    message: () => string | ArrayBuffer
    intervalMs?: number
    timeoutMs?: number
  }
  /** Closes the socket. */
  signal?: AbortSignal
  /** Parts of the surroundings, replaced. */
  environment?: Partial<Environment>
  /** Seeds the jitter; for tests. */
  seed?: number
}

/** The options of a machine for any server. Throws a `RangeError` or `TypeError` where one makes no sense. */
export function dialerOptions(options: SocketOptions): DialerOptions {
  checkOptions(options)
  const attemptsMax = options.maxReconnectAttempts ?? options.maxRetries
  const { strategy } = options
  return {
    backoffMinMs: options.minReconnectionDelay ?? 1000,
    backoffMaxMs: options.maxReconnectionDelay ?? 30_000,
    growFactor: options.reconnectionDelayGrowFactor ?? 2,
    minUptimeMs: options.minUptime ?? 10_000,
    connectTimeoutMs: options.connectionTimeout ?? 10_000,
    authorizeTimeoutMs: 30_000,
    attemptsMax,
    authorize: options.getToken !== undefined,
    dialHidden: options.dialHidden ?? false,
    classOf: () => undefined,
    strategy(verdict, usual) {
      if (attemptsMax === 0) return 'block'
      return attempt(() => strategy?.(verdict, usual)) ?? usual
    },
    link: 0,
  }
}

/** The names of all options that are numbers, and of none that is not. */
const NUMBERS = /^m(in|ax)|(Max|Ms|Factor|Timeout|seed)$/
const FUNCTIONS = /^(getToken|strategy|message)$/

/** Refuses numbers that are none, or below 0, and functions that are none. */
export function checkOptions(options: object): void {
  for (const [name, value] of Object.entries(options)) {
    // Nothing is as good as absent.
    if (value == null) continue
    if (NUMBERS.test(name) && !(typeof value === 'number' && value >= 0)) {
      throw new RangeError(`${name}: 0 or more`)
    }
    if (FUNCTIONS.test(name) && typeof value !== 'function') {
      throw new TypeError(`${name}: a function`)
    }
  }
}
