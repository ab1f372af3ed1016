/**
 * The options of a client of `bowline.v1`.
 *
 * Owns the translation into the machine's options, and the defaults.
 */

import type { Delivery } from '../channels/subscription.ts'
import type { Payload } from '../codec/messages.ts'
import { codeRow } from '../codes/codes.ts'
import type { ClientOptions } from '../machine/contract.ts'
import type { From, Position } from '../position/position.ts'
import type { Store } from '../storage/store.ts'
import { checkOptions, dialerOptions, type SocketOptions } from './options.ts'
import { copyOf, isBlob } from './payload.ts'

/** Options for Bowline's servers, beside those for any. */
export interface ResilientOptions extends SocketOptions {
  /** Speak `bowline.v1`. A server without it refuses. Default false; `connect` sets it. */
  bowline?: boolean
  /**
   * The bounds of what waits for its ack: messages (1,000), bytes (4 MiB), milliseconds (12 h). Where
   * there is no room, `drops` says what gives way: the `newest` (default), or the `oldest` that was
   * never written.
   */
  outbox?: {
    messagesMax?: number
    bytesMax?: number
    ageMaxMs?: number
    drops?: 'newest' | 'oldest'
  }
  /** Send again in a new session what was written but not acknowledged: it may take effect twice. */
  resendUnknown?: boolean
  /** Send again what only `welcome` acknowledged; for tests of servers. */
  resendStored?: boolean
  /** Messages that a reader may be behind before its channel waits on the server. Default 1,024. */
  readerMax?: number
  /** Keeps session, outbox and positions across reloads. */
  store?: Store
  /** Hosts beside the URL's own that may get the token when the server sends the client there. */
  allowHosts?: string[]
  /** Told to the server. */
  client?: { name: string; version?: string }
}

/** How a channel is subscribed to. */
export interface SubscribeOptions {
  /** Where to begin. Default: from now. A further reader of a channel joins where the first is. */
  from?: From
  /** Is called with each item as it comes, instead of reading the subscription. */
  listener?: (delivery: Delivery) => void
  /** Ends the subscription. */
  signal?: AbortSignal
  /** Messages that the reader may be behind. */
  readerMax?: number
}

/** A page of history. */
export interface HistoryPage {
  channel: string
  publications: { position?: Position; data: unknown; user?: string; tag?: string }[]
  position?: Position
  recovered: boolean
  reason?: string
  more: boolean
}

/** The options of a machine of `bowline.v1`. */
export function clientOptions(options: ResilientOptions): ClientOptions {
  const { outbox = {} } = options
  checkOptions(outbox)
  const drops = outbox.drops ?? 'newest'
  if (!/^(new|old)est$/.test(drops)) throw new RangeError('drops: newest or oldest')
  return {
    ...dialerOptions(options),
    classOf: (code) => codeRow(code)?.[0],
    outboxMessagesMax: outbox.messagesMax ?? options.maxEnqueuedMessages ?? 1000,
    outboxBytesMax: outbox.bytesMax ?? 4 * 2 ** 20,
    outboxAgeMaxMs: outbox.ageMaxMs ?? 12 * 60 * 60 * 1000,
    outboxDrops: drops,
    silenceMs: 10_000,
    subscriptionsMax: 1000,
    requestsMax: 100,
    resendUnknown: options.resendUnknown ?? false,
    resendStored: options.resendStored ?? false,
    client: options.client ?? { name: '@bowline/client' },
  }
}

/** 128 random bits as text: whoever knows them can take the session over. */
export function randomSession(randomBytes: ((count: number) => Uint8Array) | undefined) {
  const bytes = randomBytes?.(16)
  return bytes && [...bytes].map((byte) => (byte + 256).toString(16).slice(1)).join('')
}

/**
 * What the application hands over, as it goes on the wire: bytes, or the text of a JSON value. Throws
 * where it is neither.
 */
export function payloadOf(data: unknown): Payload {
  const bytes = copyOf(data)
  if (bytes) return bytes
  if (isBlob(data)) throw new TypeError('a Blob is read first: await blob.arrayBuffer()')
  // JSON has no undefined; a message without a value carries null.
  const text = data === undefined ? 'null' : JSON.stringify(data)
  if (text === undefined) throw new TypeError('no JSON value')
  return text
}
