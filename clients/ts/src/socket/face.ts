/// <reference lib="esnext.disposable" preserve="true" />
/**
 * The face that is the same with every server: a drop-in WebSocket that reconnects.
 *
 * Owns the face: attributes, methods and events. What is done is the machine's decision, and the
 * runner does it.
 */

import { classify, type Verdict } from '../classify/classify.ts'
import { utf8Length } from '../codec/bytes.ts'
import type { CodeRow } from '../codes/table.ts'
import { detectEnvironment, type Environment } from '../environment/environment.ts'
import { defineHandler, makeEvent, Target } from '../events/target.ts'
import type { Level } from '../health/health.ts'
import {
  isOpen,
  type Machine,
  type Event as MachineEvent,
  type Output,
  type State,
} from '../machine/contract.ts'
import { type Recommendation, recommend } from '../recommendation/recommendation.ts'
import { constructorOf, type Destination, GONE, type Link, type LinkEnd } from '../shell/link.ts'
import { type Host, Runner } from '../shell/runner.ts'
import { type LogEntry, Recorder, type Statistics } from '../statistics/statistics.ts'
import { absolute, originOf, withoutSecrets } from './address.ts'
import { type Deferred, deferred, domError, quiet, refused, type SocketEventMap } from './events.ts'
import type { SocketOptions, UrlSource } from './options.ts'
import { copyOf, type Data, isBlob, sizeOf } from './payload.ts'
import { Tokens } from './tokens.ts'

type OnEvent<K extends keyof SocketEventMap> =
  | ((this: WebSocket, event: SocketEventMap[K]) => unknown)
  | null

/** Listeners are typed by the event that they get. */
interface TypedTarget {
  addEventListener<K extends keyof SocketEventMap>(
    type: K,
    listener: (this: WebSocket, event: SocketEventMap[K]) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void
  removeEventListener<K extends keyof SocketEventMap>(
    type: K,
    listener: (this: WebSocket, event: SocketEventMap[K]) => unknown,
    options?: boolean | EventListenerOptions,
  ): void
  removeEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | EventListenerOptions,
  ): void
  dispatchEvent(event: Event): boolean
}

/** How the link does, with its figures. */
export interface HealthReport {
  level: Level
  /** The smoothed round trip, in milliseconds. */
  rttMs: number | undefined
  jitterMs: number
  missedProbes: number
  /** The recent share of failed attempts, from 0 to 1. */
  errorRate: number
}

/** A message that waits for a link. */
interface Waiting extends Deferred<void> {
  data: Data
}

const WAITING_MAX = 1000
/** What may stand in `Sec-WebSocket-Protocol` (RFC 6455, 4.1). */
const TOKEN = /^[\w!#-'*+.^`|~-]+$/
/** A time of the next dial that differs by less is the same: two clocks are read for it. */
const RETRY_AT_MS = 100

/** The face of a socket. A subclass says which machine, and calls `begin`. */
export abstract class Face extends (Target as new () => TypedTarget) implements WebSocket {
  static readonly CONNECTING = 0
  static readonly OPEN = 1
  static readonly CLOSING = 2
  static readonly CLOSED = 3
  readonly CONNECTING = 0
  readonly OPEN = 1
  readonly CLOSING = 2
  readonly CLOSED = 3

  declare onopen: OnEvent<'open'>
  declare onmessage: OnEvent<'message'>
  declare onerror: OnEvent<'error'>
  declare onclose: OnEvent<'close'>

  static {
    for (const type of ['open', 'message', 'error', 'close']) defineHandler(Face.prototype, type)
  }

  #binaryType: BinaryType = 'blob'
  protected readonly options: SocketOptions
  protected readonly environment: Environment
  protected runner!: Runner
  protected readonly tokens: Tokens
  /** What a link must have selected; without it the application's protocols are offered. */
  protected subprotocol: string | undefined
  /** Whether the session went on when the link opened again. */
  protected resumed = false
  readonly #source: UrlSource
  readonly #protocols: string[]
  readonly #recorder: Recorder
  readonly #waiting: Waiting[] = []
  #url = ''
  #state: State = 'idle'
  #level: Level = 'good'
  #verdict: Verdict | undefined
  #recommendation: Recommendation | undefined
  /** What was told last of it. */
  #recommended: Recommendation | undefined
  /** A link that closed, before the state that follows from it. */
  #unsaid: { end: LinkEnd | undefined; event: MachineEvent | undefined } | undefined
  #opens = 0
  /** What was told last of a lost connection, since a link was open. */
  #trouble: 'lost' | 'failed' | undefined
  /** `close` was called. */
  #closing = false
  #over = false
  /** Asked to connect again before the last link of an earlier life was over. */
  #again = false
  #unlisten = () => {}

  constructor(url: UrlSource, protocols: string | string[] = [], options: SocketOptions = {}) {
    super()
    this.options = options
    this.tokens = new Tokens(options.getToken)
    this.#source = url
    this.#protocols = [protocols].flat().map(String)
    const tokens = this.#protocols.flatMap((name) => TOKEN.exec(name.toLowerCase()) ?? [])
    if (new Set(tokens).size < this.#protocols.length) {
      throw domError('SyntaxError', 'protocols: tokens, each of them once')
    }
    this.environment = detectEnvironment({
      ...(options.WebSocket && { WebSocket: options.WebSocket }),
      ...options.environment,
    })
    // A promise may be rejected before a dial waits for it, which then tells of it.
    if (Object(url).then) quiet(Promise.resolve(url))
    else if (typeof url !== 'function') this.#url = absolute(url as string | URL)
    this.#recorder = new Recorder(this.environment.wallMs)
  }

  /** The URL of the newest dial; empty before a source has told one. */
  get url(): string {
    return this.#url
  }

  /** As of a WebSocket; while it reconnects it is `CONNECTING`. */
  get readyState(): 0 | 1 | 2 | 3 {
    const state = this.#state
    if (this.#over || state === 'idle' || state === 'blocked') return 3
    if (this.#closing) return 2
    return isOpen(state) ? 1 : 0
  }

  /** Bytes that the platform has not sent, and those that wait for a link. */
  get bufferedAmount(): number {
    const waiting = this.#waiting.reduce((sum, { data }) => sum + sizeOf(data), 0)
    return waiting + (this.#newest?.bufferedAmount ?? 0)
  }

  get protocol(): string {
    return this.#newest?.protocol ?? ''
  }

  get extensions(): string {
    return this.#newest?.extensions ?? ''
  }

  get binaryType(): BinaryType {
    return this.#binaryType
  }

  set binaryType(type: BinaryType) {
    if (type !== 'blob' && type !== 'arraybuffer') return
    this.#binaryType = type
    if (this.#newest) this.#newest.binaryType = this.#linkType
  }

  /** The state of the connection. */
  get state(): State {
    return this.#state
  }

  /** How the link does. */
  get health(): HealthReport {
    const { health, backoff } = this.runner.machine
    return {
      level: this.#level,
      rttMs: health.rttUs === undefined ? undefined : health.rttUs / 1000,
      jitterMs: health.jitterUs / 1000,
      missedProbes: health.missedProbes,
      errorRate: backoff.errorsPermille / 1000,
    }
  }

  /** What to tell the end user; nothing while all is well. */
  get recommendation(): Recommendation | undefined {
    const next = this.#recommend()
    // The same one as long as it says the same.
    if (!isSame(this.#recommendation, next)) this.#recommendation = next
    return this.#recommendation
  }

  /** The figures of this client. */
  get statistics(): Statistics {
    return this.#recorder.statistics()
  }

  /** The last 500 events and the figures, without tokens and payloads. */
  diagnostics(): { state: State; url: string; statistics: Statistics; events: LogEntry[] } {
    const url = withoutSecrets(this.#url)
    return this.tokens.hide({
      state: this.#state,
      url,
      statistics: this.statistics,
      events: this.#recorder.log(),
    })
  }

  /** Adds a listener; the answer removes it. */
  on<K extends keyof SocketEventMap>(
    type: K,
    listener: (event: SocketEventMap[K]) => void,
  ): () => void {
    this.addEventListener(type, listener as never)
    return () => this.removeEventListener(type, listener as never)
  }

  /** Sends, now or when there is a link. The promise tells when it was written, or why it was not. */
  // biome-ignore lint/suspicious/noExplicitAny: a subclass takes any JSON value.
  send(data: any): Promise<unknown> {
    if (
      this.#state === 'connecting' &&
      this.#opens === 0 &&
      this.options.maxEnqueuedMessages === 0
    ) {
      throw domError('InvalidStateError', 'not open yet')
    }
    // A listener may hear of the link before what waits is written.
    const link = this.readyState === 1 && this.#write()
    if (link) {
      link.send(data)
      return Promise.resolve()
    }
    const kept: Data = copyOf(data) ?? (isBlob(data) ? data : `${data}`)
    const waiting = { data: kept, ...deferred<void>() }
    const full = this.#waiting.length >= (this.options.maxEnqueuedMessages ?? WAITING_MAX)
    const closed = this.readyState >= 2 && this.#state !== 'idle'
    if (closed || full) waiting.reject(refused(closed ? 'closed' : 'outbox_full'))
    else this.#waiting.push(waiting)
    return waiting.promise
  }

  /** Closes for good, as a WebSocket does, but never waits for a dead network. */
  close(code?: number, reason = ''): void {
    const number = code && +code
    if (number !== undefined && number !== 1000 && !(number >= 3000 && number <= 4999)) {
      throw domError('InvalidAccessError', 'code: 1000, or 3000 to 4999')
    }
    const text = `${reason}`
    if (utf8Length(text) > 123) throw domError('SyntaxError', 'reason: at most 123 bytes')
    this.#again = false
    if (this.#closing) return
    this.#closing = true
    this.runner.end(number, text)
  }

  /** Closes, and tells when the links are gone. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#over) return
    const closed = new Promise((resolve) => this.addEventListener('close', resolve))
    this.close()
    await closed
  }

  /** Connects, or dials anew although a link is open; after `close()` too. */
  reconnect(): void {
    if (!this.#closing && this.runner.newest()) this.runner.feed({ type: 'thawed' })
    else this.retryNow()
  }

  /** Doesn't wait for the backoff, or for the application where it is blocked. */
  retryNow(): void {
    if (!this.#closing) this.connect()
    else if (!this.#over) this.#again = true
    else {
      this.begin()
      this.connect()
    }
  }

  /** Asks for a new token, then goes on with it. */
  reauthenticate(): void {
    this.tokens.reason = 'asked'
    // There is no old token before the first dial.
    if (this.#closing || this.#state === 'idle') this.retryNow()
    else this.runner.feed({ type: 'reauthenticate' })
  }

  /** Drops everything that waits. */
  clearOutbox(): void {
    this.#refuseWaiting('cleared')
  }

  /** What decides, anew for each life between `close()` and `close()`. */
  protected abstract machine(): Machine

  /** Starts a life; the first one once the subclass is made. */
  protected begin(): void {
    this.runner = new Runner(this.machine(), this.environment, this.#host())
    this.#closing = this.#over = this.#again = false
    this.#trouble = undefined
    this.#opens = 0
    this.#state = 'idle'
    this.#verdict = undefined
    const unhint = this.environment.hints((hint) => {
      if (hint === 'frozen') this.runner.letGo()
      else this.runner.feed(hint === 'thawed' ? { type: 'thawed' } : { type: 'hint', hint })
    })
    const { signal } = this.options
    const abort = () => this.close()
    signal?.addEventListener('abort', abort)
    this.#unlisten = () => {
      unhint()
      signal?.removeEventListener('abort', abort)
    }
  }

  /** Begins the first life as the options say. */
  protected start(): void {
    const { signal, startClosed } = this.options
    // A mistake of the set-up is told at once: later it would look like trouble of the network.
    if (!startClosed) constructorOf(this.environment)
    this.begin()
    if (signal?.aborted) return this.close()
    if (!startClosed) this.connect()
  }

  protected seed(): number {
    return this.options.seed ?? Math.floor(Math.random() * 2 ** 32)
  }

  protected frame(link: number, data: unknown): void {
    this.runner.feed({ type: 'received', link })
    this.emitMessage({ data })
  }

  protected output(output: Output): void {
    if (output.type !== 'ping') return
    const message = this.options.heartbeat?.message()
    if (message !== undefined) this.runner.link(output.link)?.send(message)
  }

  /** Where the server's advice leads, if it may. */
  protected advised?(url: string): string | undefined

  /** What is known of a code. */
  protected codeRow?(code: string): CodeRow | undefined

  /** An event of the machine that is not of the connection. */
  protected handle?(event: MachineEvent): void

  protected emit(type: string, fields: object = {}): void {
    this.dispatchEvent(makeEvent(type, fields))
  }

  protected emitMessage(fields: object): void {
    this.emit('message', { ...fields, origin: originOf(this.#url) })
  }

  /** Begins; a subclass may have to load something before. */
  protected connect(): void {
    // It may be closed by then.
    if (!this.#closing) this.runner.feed({ type: 'connect' })
  }

  /** Whether `close` was called, even where its turn has not come. */
  protected get closing(): boolean {
    return this.#closing
  }

  /** The newest link's socket. */
  get #newest(): WebSocket | undefined {
    return this.runner.newest()?.socket
  }

  /** The newest link, unless it opens or closes: then a platform takes what is sent and drops it. */
  get #writable(): Link | undefined {
    const link = this.runner.newest()
    return link?.socket.readyState === 1 ? link : undefined
  }

  get #linkType(): BinaryType {
    return this.subprotocol ? 'arraybuffer' : this.#binaryType
  }

  #host(): Host {
    return {
      asksWhy: this.options.asksWhy ?? true,
      target: (advised) => this.#target(advised),
      token: () => this.tokens.ask(),
      frame: (link, data) => this.frame(link, data),
      output: (output) => this.output(output),
      event: (event, end) => this.#event(event, end),
      ended: (end) => this.#ended(end),
    }
  }

  async #target(advised: string | undefined): Promise<Destination> {
    const source = this.#source
    const allowed = advised && this.advised?.(advised)
    this.#url =
      allowed ||
      absolute(
        await (typeof source === 'function' ? source({ token: this.tokens.current }) : source),
      )
    const { subprotocol } = this
    return {
      url: this.#url,
      protocols: subprotocol ? [subprotocol] : this.#protocols,
      binaryType: this.#linkType,
      subprotocol,
    }
  }

  #event(event: MachineEvent, end: LinkEnd | undefined): void {
    const entry = this.#recorder.record(event)
    // biome-ignore lint/suspicious/noConsole: it was asked for.
    if (this.options.debug) console.debug('[bowline]', entry)
    if (event.event === 'state') this.#moved(event.state)
    else if (event.event === 'health') {
      this.#level = event.level
      this.emit('healthchange', { level: event.level })
    } else if (event.event === 'link_closed') {
      const failed = event.evidence.kind !== 'given_up'
      if (failed) this.#verdict = event.verdict
      if (event.verdict.class === 'auth') this.tokens.reason = 'refused'
      this.#unsaid = { end, event: failed ? event : undefined }
      // Given up amid a dial: the next one has begun, and no other state follows.
      if (this.#state === 'connecting' && this.runner.machine.state === 'connecting') {
        this.#linkClosed('connecting')
        this.emit('connecting')
      }
    } else this.handle?.(event)
    this.#advise()
  }

  /** Tells of the link that closed, now that the state is that after it. */
  #linkClosed(current: State): void {
    const unsaid = this.#unsaid
    this.#unsaid = undefined
    // A replacement that failed leaves the client open, and the application knows its own close.
    if (!unsaid || isOpen(current) || current === 'closed') return
    const { end, event } = unsaid
    if (event && (end?.errored ?? true)) this.emit('error', event)
    this.emit('close', end ?? GONE)
  }

  #moved(current: State): void {
    const previous = this.#state
    const inMs = this.#retryIn()
    const retryIn = inMs && Math.max(0, inMs)
    this.#state = current
    this.#linkClosed(current)
    // Nothing but a token that did not come leads from the one to the other.
    if (previous === 'authorizing' && current !== 'connecting') this.#tokenFailed(current)
    this.emit('statechange', { previous, current, reason: this.#verdict, retryIn })
    if (current === 'connecting') this.emit('connecting')
    if (current === 'waiting' || current === 'dormant') {
      const attempt = this.runner.machine.backoff.failures
      this.emit('reconnecting', { attempt, delay: retryIn ?? 0, class: this.#verdict?.class })
    }
    if (current === 'open' && previous !== 'probing' && !this.#closing) this.#opened()
    const isLost = this.#opens > 0 && !isOpen(current) && current !== 'closed'
    if (isLost && !this.#trouble) this.#lostConnection('lost')
    const isFailed = current === 'blocked' || current === 'dormant'
    if (isFailed && this.#trouble !== 'failed') this.#lostConnection('failed')
  }

  #tokenFailed(current: State): void {
    if (current === 'closed') return
    const evidence = this.tokens.failure(current !== 'blocked')
    const verdict = classify(evidence, () => undefined)
    this.#verdict = verdict
    this.emit('error', { evidence, verdict })
  }

  #lostConnection(status: 'lost' | 'failed'): void {
    this.#trouble = status
    this.emit('lostconnection', { status })
  }

  #opened(): void {
    this.#verdict = undefined
    this.#trouble = undefined
    const again = this.#opens++ > 0
    this.#write()
    this.emit('open')
    if (!again) return
    this.emit('reconnected', { resumed: this.resumed })
    this.emit('lostconnection', { status: 'restored' })
  }

  /** Writes what waits, and answers the link that takes more. */
  #write(): Link | undefined {
    let link = this.#writable
    // Bounded by what waits: each turn takes one away.
    for (; link && this.#waiting.length; link = this.#writable) {
      const { data, resolve } = this.#waiting.shift() as Waiting
      link.send(data as string)
      resolve()
    }
    return link
  }

  #ended(end: LinkEnd | undefined): void {
    const wasOpen = end?.opened ?? false
    this.#over = true
    this.#unlisten()
    this.#refuseWaiting('closed')
    this.environment.setTimeout(() => {
      if (!wasOpen && this.#opens === 0) this.emit('error')
      this.emit('close', end ?? GONE)
      if (this.#again) this.retryNow()
    }, 0)
  }

  #refuseWaiting(code: string): void {
    for (const { reject } of this.#waiting.splice(0)) reject(refused(code))
  }

  /** Milliseconds until the next dial; below 0 where it is overdue. */
  #retryIn(): number | undefined {
    const { redialAt } = this.runner.machine
    return redialAt && (redialAt - this.environment.now()) / 1000
  }

  #advise(): void {
    const { recommendation } = this
    if (recommendation === this.#recommended) return
    this.#recommended = recommendation
    this.emit('recommendation', { recommendation })
  }

  #recommend(): Recommendation | undefined {
    const inMs = this.#retryIn()
    return recommend(
      {
        state: this.#state,
        verdict: this.#verdict,
        // Past failures don't make the link slow that is open now.
        poor: ['poor', 'dead'].includes(this.runner.machine.health.level(0)),
        retryAt: inMs === undefined ? inMs : Math.round(this.environment.wallMs() + inMs),
      },
      this.options.catalogue,
      this.codeRow?.(this.#verdict?.code ?? ''),
    )
  }
}

function isSame(one: Recommendation | undefined, other: Recommendation | undefined): boolean {
  return (
    one?.title === other?.title &&
    one?.detail === other?.detail &&
    one?.action === other?.action &&
    Math.abs((one?.retryAt ?? 0) - (other?.retryAt ?? 0)) < RETRY_AT_MS
  )
}
