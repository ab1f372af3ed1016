/**
 * A WebSocket that reconnects with any server, and never loses or doubles a message with Bowline's.
 *
 * Owns the face of `bowline.v1`: publishing, channels, requests. Delivery is the machine's decision.
 */

import { Channels } from '../channels/channels.ts'
import type { Subscription } from '../channels/subscription.ts'
import { fromBase64 } from '../codec/bytes.ts'
import { decode } from '../codec/decode.ts'
import { encode, isTooDeep } from '../codec/encode.ts'
import type { ErrorInfo, Payload } from '../codec/messages.ts'
import { codeRow } from '../codes/codes.ts'
import type { CodeRow } from '../codes/table.ts'
import { Client } from '../machine/client.ts'
import type { Input, Machine, Event as MachineEvent, Output, Request } from '../machine/contract.ts'
import type { Item } from '../outbox/outbox.ts'
import type { Position } from '../position/position.ts'
import { Keeper } from '../storage/keeper.ts'
import { isChannel } from '../subscriptions/subscriptions.ts'
import { type Deferred, deferred, quiet, refused, SocketError } from './events.ts'
import { Face } from './face.ts'
import type { UrlSource } from './options.ts'
import { plainMachine } from './plain.ts'
import {
  clientOptions,
  type HistoryPage,
  payloadOf,
  type ResilientOptions,
  randomSession,
  type SubscribeOptions,
} from './session.ts'

/** The name of the protocol on the wire. */
const SUBPROTOCOL = 'bowline.v1'
const READER_MAX = 1024
/** A frame that can't be read (PROTOCOL.md, "Frames"); where only servers may say it, there is no code. */
const CLOSE_PROTOCOL = 1002
/** Half a surrogate pair, which no server reads outside of data. */
const HALF_PAIR = /[\ud800-\udfff]/u
/** A URL with its scheme and host, where no platform can take another part for the host. */
const PLACE = /^(wss?):\/\/([\w.-]+|\[[\da-f:]+\])(?::\d+)?(?:[/?][^\s\\#]*)?$/

/** A message on its way: resolved when it is stored, rejected when it is dropped. */
export interface Sent extends Promise<void> {
  /** `queued`: not yet written to a link. `sent`: written, its ack has not come. */
  readonly progress: 'queued' | 'sent' | 'acked' | 'dropped'
  /** Its name in the events `ack` and `drop`, where what an earlier life has kept has one below 0. */
  readonly key: number
  /** The application's answer to a `send`; rejected with `reply_lost` where it can't come. */
  readonly reply: Promise<unknown>
}

/** Who waits for a message or a request. */
interface Waiter {
  stored: Deferred<void>
  reply: Deferred<unknown>
  /** A `send` whose reply has not come: its ack is not all. */
  wantsReply: boolean
  end: 'acked' | 'dropped' | undefined
}

/** What takes each event of the machine. */
type Tellers = {
  [E in MachineEvent['event']]?: (event: Extract<MachineEvent, { event: E }>) => void
}

/** The client. */
export class ResilientWebSocket extends Face {
  declare protected readonly options: ResilientOptions
  #client: Client | undefined
  #channels: Channels | undefined
  #keeper: Keeper | undefined
  #keys = 0
  /** Bounded by the machine's outbox, its replies and its requests. */
  readonly #waiters = new Map<number, Waiter>()

  readonly #tellers: Tellers = {
    welcome: (event) => {
      this.resumed = event.resumed
      this.emit('welcome', event)
    },
    message: ({ event: type, ...publication }) => {
      this.#open().push(publication.channel, { type, ...publication })
      this.emitMessage(publication)
    },
    gap: ({ event: type, ...gap }) => {
      this.#open().push(gap.channel, { type, ...gap })
      this.emit(type, gap)
    },
    subscribed: ({ event: type, channel, ...recovery }) => {
      this.#open().push(channel, { type, recovery })
      this.emit(type, { channel, ...recovery })
      const { recovered, reason, position } = recovery
      if (!recovered) this.emit('gap', { channel, reason, position })
    },
    subscribe_failed: ({ channel, error: info }) => {
      const error = errorOf(info)
      this.#open().push(channel, { type: 'refused', error }, !error.retry)
      this.emit('subscribeerror', { channel, error })
    },
    unsubscribed: (event) => {
      this.#open().push(event.channel, { type: 'ended', code: event.code }, true)
      this.emit('unsubscribed', event)
    },
    error: ({ error }) => this.emit('error', error),
    answer: (event) => {
      const reply = this.#done(event.key)?.reply
      if ('error' in event) reply?.reject(errorOf(event.error))
      else reply?.resolve(event.data)
    },
    acked: ({ key }) => {
      const waiter = this.#waiters.get(key)
      if (!waiter?.wantsReply) this.#done(key)
      if (waiter) waiter.end = 'acked'
      waiter?.stored.resolve()
      this.emit('ack', { key })
    },
    dropped: ({ key, fate, reason }) => {
      const waiter = this.#done(key)
      const error = new SocketError(reason, undefined, { fate })
      if (waiter) waiter.end = 'dropped'
      waiter?.stored.reject(error)
      waiter?.reply.reject(error)
      this.emit('drop', { key, fate, reason })
    },
    reply: ({ key, data }) => {
      const waiter = this.#waiters.get(key)
      waiter?.reply.resolve(data)
      if (waiter?.end) this.#done(key)
      else if (waiter) waiter.wantsReply = false
    },
    reply_lost: ({ key }) => this.#done(key)?.reply.reject(new SocketError('reply_lost')),
  }

  constructor(url: UrlSource, protocols: string | string[] = [], options: ResilientOptions = {}) {
    super(url, protocols, options)
    if (options.bowline) this.subprotocol = SUBPROTOCOL
    this.start()
  }

  /** Bytes that the platform has not sent, and those of the outbox. */
  override get bufferedAmount(): number {
    return super.bufferedAmount + (this.#client?.outbox.bytes ?? 0)
  }

  /** The session's secret id. Keep it as a password. */
  get session(): string | undefined {
    return this.#client?.session
  }

  /** Messages that are not acknowledged yet. */
  get outboxLength(): number {
    return this.#client?.outbox.entries.length ?? 0
  }

  /**
   * Hands a message to the application behind the server (`bowline.v1`), once, in order; or sends a
   * frame as a WebSocket does (other servers). `volatile`: at most once, only now.
   * What is neither bytes nor JSON is refused, as is a `Blob`, whose bytes have to be read first.
   */
  override send(
    // biome-ignore lint/suspicious/noExplicitAny: any JSON value, or bytes.
    data: any,
    options: { method?: string; volatile?: boolean } = {},
  ): Sent {
    const { method, volatile } = options
    if (this.subprotocol) return this.#hand({ method }, data, volatile)
    // Nothing is answered: what is written is all that is known.
    const open = this.readyState === 1
    const written = volatile && !open ? never('not_connected') : super.send(data)
    return sent(written, 0, NO_REPLY, progressOf(written, open ? 'sent' : 'queued', 'sent'))
  }

  /** Publishes to a channel: with exactly one effect, in the order of calls, now or later. */
  publish(
    channel: string,
    data: unknown,
    options: { tag?: string; volatile?: boolean } = {},
  ): Sent {
    const { tag, volatile } = options
    return this.#hand({ channel, tag }, data, volatile)
  }

  /** Sends a message to the application and waits for its answer. */
  request(method: string, data?: unknown): Promise<unknown> {
    return this.send(data, { method }).reply
  }

  /** Follows a channel: `for await (const message of ws.subscribe('news')) …`. */
  subscribe(channel: string, options: SubscribeOptions = {}): Subscription {
    const max = options.readerMax ?? this.options.readerMax ?? READER_MAX
    const { from = null, listener, signal } = options
    const channels = this.#open()
    if (signal?.aborted || this.closing) return channels.none(channel)
    return channels.open(channel, from, max, listener, signal)
  }

  /** Gives a channel up, for all its readers. */
  unsubscribe(channel: string): void {
    if (this.#open().has(channel)) this.#open().close(channel)
    else this.#feed({ type: 'unsubscribe', channel })
  }

  /** Past publications: those after a position, or the newest. Asked once: without an open link `not_connected`. */
  history(channel: string, options: { after?: Position; limit?: number } = {}) {
    const page = this.#ask({ type: 'history', channel, ...options })
    return quiet(page.then((page) => withBytes(page as HistoryPage)))
  }

  /** Who is there. Asked once, like `history`. */
  presence(channel: string, options: { limit?: number } = {}) {
    return this.#ask({ type: 'presence', channel, ...options }) as Promise<{
      users: string[]
      user_count: number
      connection_count: number
    }>
  }

  /** Hands a new token of the same user to the server; without an open link it is kept for the next one, and rejected. */
  refresh(token: string): Promise<void> {
    this.tokens.hold(token)
    return quiet(this.#ask({ type: 'refresh', token }).then(() => undefined))
  }

  /** Gives the session up: what was written but not acknowledged has an unknown fate. */
  resetSession(): void {
    if (this.subprotocol) this.#feed({ type: 'reset_session' })
  }

  /** Drops everything that is not acknowledged. */
  override clearOutbox(): void {
    if (this.subprotocol) this.#feed({ type: 'clear_outbox' })
    else super.clearOutbox()
  }

  override close(code?: number, reason = ''): void {
    super.close(code, reason)
    this.#keeper?.finish()
    this.#channels?.finish()
    this.#channels = undefined
  }

  protected override machine(): Machine {
    const { options } = this
    if (!this.subprotocol) return plainMachine(this.seed(), options)
    const session = randomSession(this.environment.randomBytes)
    const client = new Client(this.seed(), { ...clientOptions(options), session })
    this.#client = client
    if (options.store) {
      this.#keeper = new Keeper(options.store, client, this.environment, this.#keeper)
    }
    return client
  }

  protected override connect(): void {
    this.#defer(() => super.connect())
    this.#keeper?.restore()
  }

  protected override frame(link: number, data: unknown): void {
    if (!this.subprotocol) return super.frame(link, data)
    const messages = decode(data as string | ArrayBuffer)
    if (!messages) {
      // The machine forgets it as one that is gone.
      this.runner.link(link)?.abandon(CLOSE_PROTOCOL)
      this.runner.feed({ type: 'failed', link, evidence: { kind: 'violation' } })
      return
    }
    if (!messages.length) this.runner.feed({ type: 'received', link })
    for (const message of messages) this.runner.feed({ type: 'message', link, message })
  }

  protected override output(output: Output): void {
    if (output.type !== 'write') return super.output(output)
    const { link: number, message } = output
    const link = this.runner.link(number)
    const frame = encode(message)
    const write = () => link?.send(frame as string)
    if (this.#keeper) this.#keeper.write(message, write)
    else write()
  }

  protected override advised(url: string): string | undefined {
    const [, scheme, host = ''] = PLACE.exec(url.toLowerCase()) ?? []
    const [, ownScheme, ownHost] = PLACE.exec(this.url.toLowerCase()) ?? []
    const known = host === ownHost || this.options.allowHosts?.includes(host)
    // The token goes there, so it must be a place that the application named, no less secret.
    return known && (scheme === 'wss' || scheme === ownScheme) ? url : undefined
  }

  protected override codeRow(code: string): CodeRow | undefined {
    return codeRow(code)
  }

  protected override handle(event: MachineEvent): void {
    this.#keeper?.record(event)
    this.#tellers[event.event]?.(event as never)
  }

  #open(): Channels {
    if (!this.subprotocol) throw new SocketError(...NOT_BOWLINE)
    this.#channels ??= new Channels({
      feed: (input) => this.#feed(input),
      subscribe: (channel, wanted, begin) => {
        this.#defer(() => {
          const from = this.#keeper?.position(channel) ?? wanted
          if (isChannel(channel)) this.runner.feed({ type: 'subscribe', channel, from }, begin)
          else this.#refuse(channel, begin)
        })
      },
      handled: (channel, position) => this.#keeper?.handled(channel, position),
    })
    return this.#channels
  }

  /** Answers in the server's place, later as that does: a `hello` with such a name can't be read. */
  #refuse(channel: string, begin: () => void): void {
    const error = { code: 'bad_channel', message: 'No channel is called so.', retry: false }
    this.environment.setTimeout(() => {
      begin()
      this.handle({ event: 'subscribe_failed', channel, error })
    }, 0)
  }

  /** Queues a message, or asks once; refuses what can't go on the wire. */
  #hand(about: Omit<Item, 'data'>, given: unknown, volatile = false): Sent {
    const drop = (code: string, message?: string) => {
      const refusal = never(code, message)
      return sent(refusal, 0, refusal, () => 'dropped')
    }
    if (!this.subprotocol) return drop(...NOT_BOWLINE)
    const { channel, tag, method } = about
    if (!isChannel(channel ?? '-')) return drop('bad_channel')
    if (HALF_PAIR.test(`${tag} ${method}`)) return drop('malformed')
    let data: Payload
    try {
      data = payloadOf(given)
    } catch (error) {
      return drop('unsupported_data', String(error))
    }
    const item = { ...about, data }
    return volatile ? this.#volatile(item) : this.#queue(item)
  }

  #queue(item: Item): Sent {
    const [key, waiter] = this.#wait(item.channel === undefined)
    this.#defer(() => {
      this.runner.feed({ type: 'queue', key, item })
      this.#keeper?.queued()
    })
    const written = () =>
      this.#client?.outbox.entries.some((entry) => entry.key === key && entry.seq !== undefined)
    const { stored, reply } = waiter
    return sent(
      stored.promise,
      key,
      reply.promise,
      () => waiter.end ?? (written() ? 'sent' : 'queued'),
    )
  }

  #volatile(item: Item): Sent {
    const type = item.channel === undefined ? 'send' : 'publish'
    const request = { type, ...item } as Request
    const reply = isTooDeep(item.data)
      ? never('too_deep')
      : quiet(
          this.#ask(request).catch((error) => {
            const fate = error.code === 'connection_lost' ? 'unknown' : 'refused'
            throw Object.assign(error, { fate })
          }),
        )
    const stored = quiet(reply.then(() => undefined))
    return sent(stored, 0, reply, progressOf(stored, 'sent', 'acked'))
  }

  #ask(request: Request): Promise<unknown> {
    if (!this.subprotocol) return never(...NOT_BOWLINE)
    const [key, { reply }] = this.#wait(true)
    this.runner.feed({ type: 'request', key, request })
    return reply.promise
  }

  #wait(wantsReply: boolean): [key: number, waiter: Waiter] {
    this.#open()
    const key = ++this.#keys
    const waiter: Waiter = { stored: deferred(), reply: deferred(), wantsReply, end: undefined }
    this.#waiters.set(key, waiter)
    return [key, waiter]
  }

  /** Nothing more comes for this one. */
  #done(key: number): Waiter | undefined {
    const waiter = this.#waiters.get(key)
    this.#waiters.delete(key)
    return waiter
  }

  #feed(input: Input): void {
    this.#defer(() => this.runner.feed(input))
  }

  /** What must not happen before what was kept is loaded. */
  #defer(call: () => void): void {
    if (this.#keeper) this.#keeper.defer(call)
    else call()
  }
}

const NOT_BOWLINE = ['not_supported', 'option bowline is needed'] as const
/** Only a Bowline server answers. */
const NO_REPLY = /* @__PURE__ */ quiet(Promise.reject(new SocketError('not_supported')))

/** A promise with a message's name, answer and progress. */
function sent(
  promise: Promise<unknown>,
  key: number,
  reply: Promise<unknown>,
  progress: () => Sent['progress'],
): Sent {
  const named = Object.assign(promise, { key, reply })
  return Object.defineProperty(named, 'progress', { get: progress }) as unknown as Sent
}

/** The progress of what is in no outbox. */
function progressOf(
  promise: Promise<unknown>,
  before: Sent['progress'],
  after: Sent['progress'],
): () => Sent['progress'] {
  let progress = before
  promise.then(
    () => {
      progress = after
    },
    () => {
      progress = 'dropped'
    },
  )
  return () => progress
}

/** What was refused before it was queued. */
function never(code: string, message?: string): Promise<never> {
  return quiet(Promise.reject(refused(code, message)))
}

/** A page with the bytes of its binary publications as bytes. */
function withBytes(page: HistoryPage): HistoryPage {
  const read = ({ data_b64, ...rest }: { data: unknown; data_b64?: string }) =>
    data_b64 === undefined ? rest : { ...rest, data: fromBase64(data_b64) }
  return { ...page, publications: page.publications.map(read) }
}

function errorOf({ code, message, retry, retry_after_ms }: ErrorInfo): SocketError {
  return new SocketError(code, message, { retry, retryAfterMs: retry_after_ms })
}
