/** The events of a socket, and the errors of its promises. Owns the types. */

import type { ErrorClass, Evidence, Verdict } from '../classify/classify.ts'
import type { Gap, Publication, Recovery } from '../codec/messages.ts'
import type { Level } from '../health/health.ts'
import type { State } from '../machine/contract.ts'
import type { Fate } from '../outbox/outbox.ts'
import type { Recommendation } from '../recommendation/recommendation.ts'

/** Every event by its type. */
export interface SocketEventMap {
  open: Event
  /** With a Bowline server also a publication's `channel`, `position`, `user`, `tag`. */
  message: MessageEvent & Partial<Publication>
  error: Event & { code?: string; evidence?: Evidence; verdict?: Verdict }
  close: CloseEvent
  /**
   * A dial begins. That of the constructor begins before anybody can listen, as does its `statechange`,
   * unless a token, a store or `startClosed` puts it off.
   */
  connecting: Event
  /** A dial is due in `delay` milliseconds; `attempt` have failed in a row. */
  reconnecting: Event & { attempt: number; delay: number; class: ErrorClass | undefined }
  /** Open again; `resumed`: a Bowline server knew the session, as it does once a message was numbered. */
  reconnected: Event & { resumed: boolean }
  statechange: Event & { previous: State; current: State; reason?: Verdict; retryIn?: number }
  healthchange: Event & { level: Level }
  lostconnection: Event & { status: 'lost' | 'restored' | 'failed' }
  recommendation: Event & { recommendation: Recommendation | undefined }
  /** Publications are missing here: on an open link, or after a break (`recovered: false`). */
  gap: Event & Omit<Gap, 'reason'> & { reason: Gap['reason'] | 'no_history' }
  /** A message is stored. */
  ack: Event & { key: number }
  /** A message won't be sent again. */
  drop: Event & { key: number; fate: Fate; reason: string }
  subscribed: Event & { channel: string } & Recovery
  unsubscribed: Event & { channel: string; code?: string }
  subscribeerror: Event & { channel: string; error: SocketError }
  welcome: Event & {
    resumed: boolean
    reason: string | null
    acked: number
    connection: string
  }
}

/** Why a promise was rejected. */
export class SocketError extends Error {
  declare readonly name: 'SocketError'
  /** A code of the protocol's table, or one of the client's own. */
  declare readonly code: string
  /** Whether the same may succeed later. */
  declare readonly retry: boolean
  /** Of a message: whether it may have been stored. */
  declare readonly fate: Fate | undefined
  /** The server's advice, in milliseconds. */
  declare readonly retryAfterMs: number | undefined

  /** Without a message of the server's it is the code in words. */
  constructor(
    code: string,
    message = code.replaceAll('_', ' '),
    more: { retry?: boolean; fate?: Fate; retryAfterMs?: number | undefined } = {},
  ) {
    super(message)
    Object.assign(this, { name: 'SocketError', code, retry: false }, more)
  }
}

/** Why a message was not taken. */
export function refused(code: string, message?: string): SocketError {
  return new SocketError(code, message, { fate: 'refused' })
}

/** A promise that is settled from outside, and whose rejection nobody need wait for. */
export interface Deferred<T> {
  promise: Promise<T>
  resolve(value: T): void
  reject(error: SocketError): void
}

/** Makes one. */
export function deferred<T>(): Deferred<T> {
  let settle!: Omit<Deferred<T>, 'promise'>
  const promise = new Promise<T>((resolve, reject) => {
    settle = { resolve, reject }
  })
  return { promise: quiet(promise), ...settle }
}

/** A promise whose rejection nobody need wait for. */
export function quiet<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {})
  return promise
}

/** What the platform would throw. */
export function domError(name: string, message: string): Error {
  const { DOMException } = globalThis
  return DOMException
    ? new DOMException(message, name)
    : Object.assign(new Error(message), { name })
}
