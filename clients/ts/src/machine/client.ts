/**
 * The client's side of `bowline.v1`, sans-IO: handshake, messages, numbers, loss.
 *
 * Owns the answers to what happens on links. When to dial is the dialer's decision.
 */

import { ADVICE_MS_MAX } from '../backoff/backoff.ts'
import type {
  ClientMessage,
  ErrorInfo,
  Recovery,
  ServerMessage,
  Welcome,
} from '../codec/messages.ts'
import { isTooBig, Outbox } from '../outbox/outbox.ts'
import { isChannel, Subscriptions } from '../subscriptions/subscriptions.ts'
import type { ClientOptions, Handlers, Input, Of } from './contract.ts'
import { CLOSE_NORMAL, Dialer } from './dialer.ts'

/** The ceiling of the wait after a refused subscription that may succeed later. */
const SUBSCRIBE_RETRY_MS = 5000
/** Errors that the client finds by itself. */
const OWN_ERRORS = {
  not_connected: 'There is no connection; ask again when there is one.',
  too_many_requests: 'Too many requests wait for their answer.',
  message_too_big: 'The data is larger than message_bytes_max.',
  connection_lost: 'The connection was lost before the answer came.',
}

/** The client's machine. The same seed, options and inputs give the same outputs. */
export class Client extends Dialer<ClientOptions> {
  /** What waits for its ack. */
  readonly outbox: Outbox
  /** The session's secret id. */
  session: string | undefined
  readonly #subscriptions: Subscriptions
  #inflightMax = 0
  #bytesMax: number | undefined
  /** A newer link has written `hello`: nothing numbered goes out any more, and nothing is asked for. */
  #fenced = false
  /** Requests that wait for an answer: id to the caller's key. */
  readonly #requests = new Map<number, number>()
  #nextId = 1
  /** Channels given up or subscribed to since `hello`: of these `welcome` does not tell what is wanted. */
  readonly #changed = new Set<string>()

  /** What each message leads to on the link that is used. */
  readonly #takers: Partial<Handlers<ServerMessage>> = {
    message: ({ type, ...publication }) => {
      const judgement = this.#subscriptions.judge(publication)
      if (judgement === 'deliver') this.emit({ event: 'message', ...publication })
      else if (judgement !== 'ignore') {
        const { channel } = publication
        // Asked for anew by the flush that ends every input, but not over and over.
        this.#writeUnsubscribe(channel)
        if (judgement === 'faults') this.#subscriptions.refuse(channel, this.#subscribeAgainAt())
        const message = `Offsets of ${channel} were left out.`
        this.emit({ event: 'error', error: { code: 'offset_jump', message, retry: true } })
      }
    },
    acked: ({ seq }) => {
      // On a link that is to be replaced it says nothing of the next one.
      if (this.redialAt === undefined && !this.dialing) this.backoff.proved()
      this.outbox.acked(this.now, seq, false)
    },
    ping: ({ ts }) => this.#write({ type: 'pong', ts }),
    reply: ({ seq, id, data }) => {
      if (seq === undefined) return this.#answer(Number(id), { data })
      const key = this.outbox.replied(seq)
      if (key !== undefined) this.emit({ event: 'reply', key, data })
    },
    error: ({ seq, id, ...message }) => {
      const error = errorOf(message)
      if (seq !== undefined) {
        this.outbox.refused(this.now, seq, error, (bound) => this.rng.below(bound))
      } else if (id === undefined) this.emit({ event: 'error', error })
      else {
        const channel = this.#subscriptions.asked(Number(id))
        if (channel === undefined) this.#answer(Number(id), { error })
        else if (error.code === 'already_subscribed') {
          // An `unsubscribe` was not taken, for its rate for example.
          this.#writeUnsubscribe(channel)
          this.#subscriptions.refuse(channel, this.#subscribeAgainAt())
        } else this.#subscribeFailed(channel, error)
      }
    },
    subscribed: ({ type, id, channel, ...recovery }) => {
      this.#begin(channel, id === undefined ? undefined : Number(id), recovery)
    },
    unsubscribed: ({ id, channel, code }) => {
      if (id === undefined && code !== undefined && this.#subscriptions.remove(channel)) {
        this.emit({ event: 'unsubscribed', channel, code })
      }
    },
    gap: ({ type, ...gap }) => {
      if (this.#subscriptions.gap(gap.channel, gap.position, gap.reason)) {
        this.emit({ event: 'gap', ...gap })
      }
    },
    reconnect: ({ reason, after_ms, url }) => {
      const afterMs = Math.min(after_ms, ADVICE_MS_MAX)
      if (reason === 'restart') this.restartOverMs = afterMs
      else {
        this.redialAt = Math.max(this.now + afterMs * 1000, this.active?.staysUntil ?? 0)
        this.redialUrl = url
      }
    },
    expiring: () => {
      if (this.options.authorize) this.authorize()
    },
  }

  constructor(seed: number, options: ClientOptions) {
    super(seed, options)
    this.outbox = new Outbox(options, (resolved) => this.emit(resolved))
    this.session = options.session
    this.#subscriptions = new Subscriptions(options.subscriptionsMax)
  }

  protected subscribe({ channel, from }: Of<Input, 'subscribe'>): void {
    const begun = this.#subscriptions.removeByServer(channel)
    if (begun) this.#writeUnsubscribe(channel)
    // Somebody may have read it until there.
    from ??= begun?.cursor ?? null
    if (!this.#subscriptions.isFull) {
      if (this.#subscriptions.add(channel, from)) this.#change(channel)
      return
    }
    const message = 'The limit of subscriptions of one connection is reached.'
    const error = { code: 'too_many_subscriptions', message, retry: false }
    this.emit({ event: 'subscribe_failed', channel, error })
  }

  protected unsubscribe({ channel }: { channel: string }): void {
    if (!this.#subscriptions.remove(channel)) return
    this.#change(channel)
    this.#writeUnsubscribe(channel)
    this.emit({ event: 'unsubscribed', channel })
  }

  protected pause({ channel }: { channel: string }): void {
    if (this.#subscriptions.pause(channel)) this.#writeUnsubscribe(channel)
  }

  protected resume({ channel }: { channel: string }): void {
    // A `welcome` that is on its way knows nothing of its cursor: `hello` was without it.
    if (this.#subscriptions.resume(channel)) this.#change(channel)
  }

  protected queue({ key, item }: Of<Input, 'queue'>): void {
    const reason =
      this.state === 'closed' ? 'closed' : this.outbox.push(this.now, key, item, this.#bytesMax)
    if (reason) return this.emit({ event: 'dropped', key, fate: 'refused', reason })
    const { active } = this
    if (active && !active.probe && this.now - active.receivedAt >= this.options.silenceMs * 1000) {
      this.probe()
    }
  }

  protected request({ key, request }: Of<Input, 'request'>): void {
    // Whatever becomes of the request: a link that is lost before the answer says nothing of the
    // token, and one that the server refuses ends the link with 4401, after which it is forgotten.
    if (request.type === 'refresh') this.bearer = request.token
    if (!this.active) return this.#fail(key, 'not_connected')
    if (this.#requests.size >= this.options.requestsMax) return this.#fail(key, 'too_many_requests')
    if ('data' in request && isTooBig(request, this.#bytesMax)) {
      return this.#fail(key, 'message_too_big')
    }
    const id = this.#nextId++
    this.#requests.set(id, key)
    const { type, ...fields } = request
    this.#write({ type, id, ...fields } as ClientMessage)
  }

  protected clear_outbox(): void {
    this.outbox.clear('cleared')
  }

  protected reset_session(): void {
    this.#leaveSession('session_reset')
    // Numbers from 1 belong to the new session: the links of the old one must not take them.
    this.#fenced = true
    if (this.dialing?.helloAt !== undefined || this.active) this.redial()
  }

  protected message({ link, message }: Of<Input, 'message'>): void {
    const { active } = this
    if (this.dials(link)) {
      if (message.type === 'welcome') this.#welcomed(message)
      // A refusal before `welcome` is followed by the close that says what to do.
      else if (message.type === 'error') this.emit({ event: 'error', error: errorOf(message) })
    } else if (active?.link === link) {
      const { probe } = active
      this.received({ link })
      if (message.type === 'pong' && probe && message.ts === String(probe.ts)) {
        this.health.measured(this.now - probe.sentAt)
      }
      this.#takers[message.type]?.(message as never)
    }
  }

  protected override timers(): (number | undefined)[] {
    const writable = this.active && !this.#fenced
    return [
      ...super.timers(),
      this.outbox.expiresAt(),
      writable ? this.outbox.pausedUntil : undefined,
      writable ? this.#subscriptions.retryAt() : undefined,
    ]
  }

  protected override opened({ link }: { link: number }): void {
    const { dialing } = this
    if (dialing?.link !== link) return
    dialing.helloAt = this.now
    this.#changed.clear()
    if (this.active) this.#fenced = true
    else this.moveTo('handshaking')
    const hello: ClientMessage = {
      type: 'hello',
      token: this.bearer,
      session: this.session,
      link,
      first: this.outbox.first(),
      next: this.outbox.next,
      subscribe: this.#subscriptions.hello(),
      client: this.options.client,
    }
    this.#write(hello, link)
  }

  protected override unlink(): void {
    this.#failRequests()
    this.#subscriptions.unlink()
    this.outbox.relink()
  }

  protected override bye(): void {
    this.#write({ type: 'bye' })
  }

  protected override ended(): void {
    this.outbox.clear('closed')
  }

  protected override ping(_link: number, ts: number): void {
    this.#write({ type: 'ping', ts: String(ts) })
  }

  protected override refresh(_link: number, token: string): void {
    this.#write({ type: 'refresh', token })
  }

  protected override replaced(): void {
    this.#leaveSession('replaced')
    super.replaced()
  }

  protected override failed(input: Of<Input, 'failed'>): void {
    super.failed(input)
    // The older link goes on, but for one whose session was given up. Where the server fenced it for
    // the newer one, it is about to end.
    if (!this.dialing && this.session !== undefined) this.#fenced = false
  }

  protected override timeout(): void {
    super.timeout()
    this.outbox.expire(this.now)
  }

  /** Writes what may be written: subscriptions first, since others may wait for their effect. */
  protected override flush(): void {
    // The next `welcome` would not know of what is asked here.
    if (!this.active || this.#fenced) return
    // Bounded by `subscriptionsMax`: each is asked once.
    for (;;) {
      const asked = this.#subscriptions.ask(this.now, this.#nextId)
      if (!asked) break
      const [channel, position] = asked
      this.#write({ type: 'subscribe', id: this.#nextId++, channel, position })
    }
    // Bounded by the outbox: each is written once.
    for (;;) {
      const message = this.outbox.write(this.now, this.#inflightMax)
      if (!message) break
      this.#write(message)
    }
  }

  /** Writes to the link that is used, if there is one, or to another. */
  #write(message: ClientMessage, link = this.active?.link): void {
    if (link !== undefined) this.output({ type: 'write', link, message })
  }

  #writeUnsubscribe(channel: string): void {
    this.#write({ type: 'unsubscribe', channel })
  }

  #change(channel: string): void {
    if (this.dialing?.helloAt !== undefined) this.#changed.add(channel)
  }

  #leaveSession(reason: string): void {
    this.session = undefined
    this.outbox.fresh(this.options.resendUnknown, reason)
  }

  #welcomed(welcome: Welcome): void {
    if (this.active) {
      this.closeLink(this.active.link, CLOSE_NORMAL)
      this.#subscriptions.unlink()
      this.#failRequests()
    }
    const pongTimeout = welcome.pong_timeout_ms * 1000
    this.adopt(welcome.ping_interval_ms * 1000 + pongTimeout, pongTimeout)
    this.#fenced = false
    this.#inflightMax = welcome.inflight_max
    this.#bytesMax = welcome.message_bytes_max
    this.attemptsMax = this.options.attemptsMax ?? welcome.max_reconnect_attempts
    const { resumed, reason = null, acked, connection = '', session } = welcome
    this.emit({ event: 'welcome', resumed, reason, acked, connection, session })
    this.#resumeOutbox(welcome)
    this.outbox.outlive(this.now, welcome.session_ttl_ms)
    this.outbox.limit(this.#bytesMax)
    this.session = session
    for (const [channel, { error, ...recovery }] of Object.entries(welcome.subscriptions ?? {})) {
      if (this.#changed.has(channel)) {
        if (!error) this.#writeUnsubscribe(channel)
      } else if (error) this.#subscribeFailed(channel, error)
      else this.#begin(channel, undefined, recovery)
    }
  }

  #resumeOutbox({ session, reason, acked }: Welcome): void {
    const isSame = this.session === undefined || this.session === session
    const lost = reason ?? (isSame ? undefined : 'session_lost')
    if (lost) return this.outbox.fresh(this.options.resendUnknown, lost)
    this.outbox.relink()
    if (acked > 0 && !this.options.resendStored) this.outbox.acked(this.now, acked, true)
  }

  #begin(channel: string, id: number | undefined, recovery: Recovery): void {
    if (!isChannel(channel)) return
    const told = this.#subscriptions.begin(channel, id, recovery)
    if (told) this.emit({ event: 'subscribed', channel, ...told })
    // Paused since `hello` asked for it, or there is no room for it: the server must stop.
    else if (id === undefined) this.#writeUnsubscribe(channel)
  }

  #subscribeFailed(channel: string, error: ErrorInfo): void {
    const until = error.retry ? this.#subscribeAgainAt(error.retry_after_ms) : undefined
    this.#subscriptions.refuse(channel, until)
    this.#change(channel)
    this.emit({ event: 'subscribe_failed', channel, error })
  }

  #subscribeAgainAt(adviceMs = 0): number {
    return this.now + (adviceMs + this.rng.below(SUBSCRIBE_RETRY_MS + 1)) * 1000
  }

  /** Tells what became of a request, once. */
  #answer(id: number, answer: { data: unknown } | { error: ErrorInfo }): void {
    const key = this.#requests.get(id)
    if (this.#requests.delete(id)) this.emit({ event: 'answer', key: key as number, ...answer })
  }

  #fail(key: number, code: keyof typeof OWN_ERRORS): void {
    const retry = code !== 'message_too_big'
    this.emit({ event: 'answer', key, error: { code, message: OWN_ERRORS[code], retry } })
  }

  #failRequests(): void {
    for (const key of this.#requests.values()) this.#fail(key, 'connection_lost')
    this.#requests.clear()
  }
}

function errorOf({ code, message = '', retry = false, retry_after_ms }: ErrorInfo): ErrorInfo {
  return { code, message, retry, retry_after_ms }
}
