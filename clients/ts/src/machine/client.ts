/**
 * The client's side of `bowline.v1`, sans-IO: handshake, messages, numbers, loss.
 *
 * Owns the answers to what happens on links. When to dial is the dialer's decision.
 */

import type {
  ClientMessage,
  ErrorInfo,
  Publication,
  Recovery,
  ServerMessage,
  Welcome,
} from '../codec/messages.ts'
import { type Item, Outbox, type Resolved } from '../outbox/outbox.ts'
import type { From } from '../position/position.ts'
import { Subscriptions } from '../subscriptions/subscriptions.ts'
import type { ClientOptions, Input, Request } from './contract.ts'
import { CLOSE_NORMAL, Dialer } from './dialer.ts'

/** The ceiling of the wait after a refused subscription that may succeed later. */
const SUBSCRIBE_RETRY_MS = 5000

/** The client's machine. The same seed, options and inputs give the same outputs. */
export class Client extends Dialer<ClientOptions> {
  /** What waits for its ack. */
  readonly outbox: Outbox
  /** The channels. */
  readonly subscriptions = new Subscriptions()
  /** The session's secret id. */
  session: string | undefined
  #inflightMax = 0
  #bytesMax: number | undefined
  /** A newer link has written `hello`: nothing numbered goes out any more. */
  #fenced = false
  /** Requests that wait for an answer: id to the caller's key. */
  #requests = new Map<number, number>()
  #nextId = 1
  /** Channels given up after `hello` had asked for them. */
  #givenUp = new Set<string>()

  constructor(seed: number, options: ClientOptions) {
    super(seed, options)
    this.outbox = new Outbox(options)
    this.session = options.session
  }

  protected override take(input: Input): void {
    switch (input.type) {
      case 'subscribe':
        return this.#subscribe(input.channel, input.from)
      case 'unsubscribe':
        return this.#unsubscribe(input.channel)
      case 'pause':
        if (this.subscriptions.pause(input.channel)) this.#writeUnsubscribe(input.channel)
        break
      case 'resume':
        return this.subscriptions.resume(input.channel)
      case 'queue':
        return this.#queue(input.key, input.item)
      case 'request':
        return this.#request(input.key, input.request)
      case 'clear_outbox':
        return this.#report(this.outbox.clear(undefined, 'cleared'))
      case 'reset_session':
        return this.#resetSession()
      case 'message':
        return this.#message(input.link, input.message)
      default:
        super.take(input)
    }
  }

  protected override timers(): (number | undefined)[] {
    const { active } = this
    return [
      ...super.timers(),
      this.outbox.expiresAt(),
      active && !this.#fenced ? this.outbox.pausedUntil : undefined,
      active && this.subscriptions.retryAt(),
    ]
  }

  protected override opened(link: number): void {
    if (this.dialing) this.dialing.helloAt = this.now
    this.#givenUp.clear()
    if (this.active) this.#fenced = true
    else this.moveTo('handshaking')
    this.#write(link, {
      type: 'hello',
      token: this.token,
      session: this.session,
      link,
      first: this.outbox.first(),
      next: this.outbox.next,
      subscribe: this.subscriptions.hello(),
      client: this.options.client,
    })
  }

  protected override unlink(): void {
    this.#failRequests()
    this.subscriptions.unlink()
    this.#report(this.outbox.relink())
  }

  protected override bye(link: number): void {
    this.#write(link, { type: 'bye' })
  }

  protected override ended(): void {
    this.#report(this.outbox.clear(undefined, 'closed'))
  }

  protected override ping(link: number, ts: number): void {
    this.#write(link, { type: 'ping', ts: String(ts) })
  }

  protected override refresh(link: number, token: string): void {
    this.#write(link, { type: 'refresh', token })
  }

  protected override replaced(): void {
    this.session = undefined
    this.#report(this.outbox.fresh(this.options.resendUnknown, 'replaced'))
    super.replaced()
  }

  protected override timeout(): void {
    super.timeout()
    this.#report(this.outbox.expire(this.now))
  }

  /** Writes what may be written: subscriptions first, since others may wait for their effect. */
  protected override flush(): void {
    if (!this.active) return
    const { link } = this.active
    // Bounded by `subscriptionsMax`: each is asked once.
    for (;;) {
      const asked = this.subscriptions.ask(this.now, this.#nextId)
      if (!asked) break
      const [channel, position] = asked
      this.#write(link, { type: 'subscribe', id: this.#nextId++, channel, position })
    }
    if (this.#fenced) return
    // Bounded by the outbox: each is written once.
    for (;;) {
      const message = this.outbox.write(this.now, this.#inflightMax)
      if (!message) break
      this.#write(link, message)
    }
  }

  #write(link: number, message: ClientMessage): void {
    this.output({ type: 'write', link, message })
  }

  #subscribe(channel: string, from: From): void {
    if (this.subscriptions.size < this.options.subscriptionsMax) {
      return this.subscriptions.add(channel, from)
    }
    const message = 'The limit of subscriptions of one connection is reached.'
    const error = { code: 'too_many_subscriptions', message, retry: false }
    this.emit({ event: 'subscribe_failed', channel, error })
  }

  #unsubscribe(channel: string): void {
    if (!this.subscriptions.remove(channel)) return
    if (this.dialing?.helloAt !== undefined) this.#givenUp.add(channel)
    this.#writeUnsubscribe(channel)
    this.emit({ event: 'unsubscribed', channel })
  }

  #writeUnsubscribe(channel: string): void {
    if (this.active) this.#write(this.active.link, { type: 'unsubscribe', channel })
  }

  #queue(key: number, item: Item): void {
    const closed = this.state === 'closed'
    if (!closed) this.#report(this.outbox.makeRoom(item, this.#bytesMax))
    const reason = closed ? 'closed' : this.outbox.push(this.now, key, item, this.#bytesMax)
    if (reason) return this.emit({ event: 'dropped', key, fate: 'refused', reason })
    const { active } = this
    if (active && !active.probe && this.now - active.receivedAt >= this.options.silenceMs * 1000) {
      this.probe()
    }
  }

  #request(key: number, request: Request): void {
    const full = this.#requests.size >= this.options.requestsMax
    if (!this.active || full) {
      const error = ownError(this.active ? 'too_many_requests' : 'not_connected')
      return this.emit({ event: 'answer', key, error })
    }
    const id = this.#nextId++
    this.#requests.set(id, key)
    const { type, ...fields } = request
    this.#write(this.active.link, { type, id, ...fields } as ClientMessage)
  }

  #resetSession(): void {
    this.session = undefined
    this.#report(this.outbox.fresh(this.options.resendUnknown, 'session_reset'))
    // Numbers from 1 belong to the new session: the links of the old one must not take them.
    this.#fenced = true
    if (this.dialing?.helloAt !== undefined || this.active) this.redial()
  }

  #message(link: number, message: ServerMessage): void {
    if (this.dialing?.link === link) {
      if (message.type === 'welcome') this.#welcomed(message)
      // A refusal before `welcome` is followed by the close that says what to do.
      else if (message.type === 'error') this.emit({ event: 'error', error: errorOf(message) })
      return
    }
    const { active } = this
    if (active?.link !== link) return
    const { probe } = active
    this.received(link)
    switch (message.type) {
      case 'message':
        return this.#publication(message)
      case 'acked':
        this.backoff.proved()
        return this.#report(this.outbox.acked(message.seq, false))
      case 'ping':
        return this.#write(link, { type: 'pong', ts: message.ts })
      case 'pong':
        if (probe && message.ts === String(probe.ts)) this.health.measured(this.now - probe.sentAt)
        break
      case 'reply':
        return this.#replied(message)
      case 'error':
        return this.#refused(message)
      case 'subscribed': {
        const { type, id, channel, ...recovery } = message
        return this.#begin(channel, id === undefined ? undefined : Number(id), recovery)
      }
      case 'gap': {
        const { type, ...gap } = message
        if (this.subscriptions.gap(gap.channel, gap.position, gap.reason))
          this.emit({ event: 'gap', ...gap })
        break
      }
      default:
        return this.#notice(message)
    }
  }

  /** The messages that the server sends of its own accord. */
  #notice(message: ServerMessage): void {
    if (message.type === 'unsubscribed') {
      const { id, channel, code } = message
      if (id === undefined && code !== undefined && this.subscriptions.remove(channel)) {
        this.emit({ event: 'unsubscribed', channel, code })
      }
    } else if (message.type === 'reconnect') {
      if (message.reason === 'restart') this.restartOverMs = message.after_ms
      else {
        this.redialAt = this.now + message.after_ms * 1000
        this.redialUrl = message.url
      }
    } else if (message.type === 'expiring' && this.options.authorize) this.authorize()
  }

  #welcomed(welcome: Welcome): void {
    if (this.active) {
      this.closeLink(this.active.link, CLOSE_NORMAL)
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
    this.session = session
    for (const [channel, { error, ...recovery }] of Object.entries(welcome.subscriptions ?? {})) {
      if (this.#givenUp.has(channel)) this.#writeUnsubscribe(channel)
      else if (error) this.#subscribeFailed(channel, error)
      else this.#begin(channel, undefined, recovery)
    }
  }

  #resumeOutbox({ session, reason, acked }: Welcome): void {
    const same = this.session === undefined || this.session === session
    const lost = reason ?? (same ? undefined : 'session_lost')
    if (lost) return this.#report(this.outbox.fresh(this.options.resendUnknown, lost))
    this.#report(this.outbox.relink())
    if (acked > 0 && !this.options.resendStored) this.#report(this.outbox.acked(acked, true))
  }

  #begin(channel: string, id: number | undefined, recovery: Recovery): void {
    const begun = this.subscriptions.begin(channel, id, recovery)
    if (begun) {
      const { lossy, ahead } = begun
      if (ahead) this.emit({ event: 'subscribed', channel, recovered: true, position: ahead })
      else this.emit({ event: 'subscribed', channel, ...recovery })
      if (lossy) this.emit({ event: 'gap', channel, reason: 'slow' })
      // Paused since `hello` asked for it: the server must stop.
    } else if (id === undefined) this.#writeUnsubscribe(channel)
  }

  #subscribeFailed(channel: string, error: ErrorInfo): void {
    let until: number | undefined
    if (error.retry) {
      const jitterMs = this.rng.below(SUBSCRIBE_RETRY_MS + 1)
      until = this.now + ((error.retry_after_ms ?? 0) + jitterMs) * 1000
    }
    this.subscriptions.refuse(channel, until)
    this.emit({ event: 'subscribe_failed', channel, error })
  }

  #publication(message: { type: 'message' } & Publication): void {
    const { type, ...publication } = message
    const judgement = this.subscriptions.judge(publication)
    if (judgement === 'deliver') this.emit({ event: 'message', ...publication })
    else if (judgement === 'fault') {
      // Asked for anew by the flush that ends every input.
      this.#writeUnsubscribe(publication.channel)
      const text = `Offsets of ${publication.channel} were left out.`
      this.emit({ event: 'error', error: { code: 'offset_jump', message: text, retry: true } })
    }
  }

  #replied({ seq, id, data }: { seq?: number; id?: string; data: unknown }): void {
    if (seq !== undefined) {
      const key = this.outbox.replied(seq)
      if (key !== undefined) this.emit({ event: 'reply', key, data })
      return
    }
    const key = this.#requests.get(Number(id))
    if (this.#requests.delete(Number(id)) && key !== undefined) {
      this.emit({ event: 'answer', key, data })
    }
  }

  #refused(message: { seq?: number; id?: string } & ErrorInfo): void {
    const error = errorOf(message)
    if (message.seq !== undefined) {
      const jitter = (bound: number) => this.rng.below(bound)
      return this.#report(this.outbox.refused(this.now, message.seq, error, jitter))
    }
    if (message.id === undefined) return this.emit({ event: 'error', error })
    const id = Number(message.id)
    const key = this.#requests.get(id)
    const channel = this.subscriptions.asked(id)
    if (key !== undefined) {
      this.#requests.delete(id)
      this.emit({ event: 'answer', key, error })
    } else if (channel !== undefined) this.#subscribeFailed(channel, error)
  }

  #failRequests(): void {
    for (const key of this.#requests.values()) {
      this.emit({ event: 'answer', key, error: ownError('connection_lost') })
    }
    this.#requests.clear()
  }

  #report(resolved: Resolved[]): void {
    for (const event of resolved) this.emit(event)
  }
}

/** An error of the client's own, which the code table does not have. */
function ownError(code: 'not_connected' | 'too_many_requests' | 'connection_lost'): ErrorInfo {
  const message = {
    not_connected: 'There is no connection; ask again when there is one.',
    too_many_requests: 'Too many requests wait for their answer.',
    connection_lost: 'The connection was lost before the answer came.',
  }[code]
  return { code, message, retry: true }
}

function errorOf({ code, message = '', retry = false, retry_after_ms }: ErrorInfo): ErrorInfo {
  return { code, message, retry, retry_after_ms }
}
