/**
 * The states of a client and when to dial, for any server.
 *
 * Owns commands, hints and timers, whatever protocol is spoken on the links. Must not know sockets,
 * clocks, entropy, nor messages: those are a subclass's. Alone it uses a link as soon as it opens, and
 * asks for signs of life where the application says how.
 */

import { Backoff } from '../backoff/backoff.ts'
import { Rng } from '../backoff/rng.ts'
import { classify, type Evidence, strategyOf, type Verdict } from '../classify/classify.ts'
import { Health, type Level } from '../health/health.ts'
import type {
  DialerOptions,
  Event,
  Handlers,
  Input,
  Machine,
  Of,
  Output,
  State,
} from './contract.ts'

/**
 * A dormant client dials once per 60–120 s: often enough to come back by itself, too seldom to
 * burden a server that is down.
 */
const DORMANT_MS = 60_000
/** The attempts until dormant before a server has named a number. */
const ATTEMPTS_MAX = 10
/**
 * On an open link a token that could not be had is asked for again after so long: some attempts fit between
 * `expiring` and the end.
 */
const ASK_AGAIN_US = 5_000_000
/** Auth failures in a row, each after a new token, until the application must act. */
const AUTH_FAILURES_MAX = 2
/** Probes in a row whose loss is death. */
const MISSED_PROBES_MAX = 2
/**
 * A link that replaced another is not left sooner on advice, in microseconds: servers that send a client to
 * each other must not keep it dialling.
 */
const ADVISED_AFTER = 1_000_000
/** RFC 6455, 7.4.1. */
export const CLOSE_NORMAL = 1000
const CLOSE_GOING_AWAY = 1001

/** A link that can't be used yet. */
interface Dialing {
  link: number
  /** When it could be written to. */
  helloAt: number | undefined
  deadline: number
}

/** The link that is used. */
interface Active {
  link: number
  /** No advice leaves it sooner. */
  staysUntil: number
  receivedAt: number
  /** Silence for so many microseconds is death. */
  silenceMax: number
  pongTimeout: number
  probe: Probe | undefined
}

/** A ping that waits for any sign of life. */
interface Probe {
  ts: number
  sentAt: number
  deadline: number
  /** It waits as long as the application said: nothing but the silence asked for it. */
  patient: boolean
}

/**
 * A machine, sans-IO: feed it with {@link handle}, do what the outputs say in their order, and feed
 * `timeout` when {@link nextTimeout} has come. Each input is taken by the method of its name.
 */
export class Dialer<O extends DialerOptions = DialerOptions> implements Machine {
  /** Where it stands. */
  state: State = 'idle'
  /** The estimate of the link. */
  readonly health = new Health()
  /** The failures so far. */
  readonly backoff: Backoff
  /** The highest link number given. */
  link: number
  /** When the next dial is due. */
  redialAt: number | undefined
  protected readonly options: O
  protected readonly rng: Rng
  protected now = 0
  protected bearer: string | undefined
  protected dialing: Dialing | undefined
  protected active: Active | undefined
  protected attemptsMax: number
  protected redialUrl: string | undefined
  protected restartOverMs: number | undefined
  #authFailures = 0
  #authorizeUntil: number | undefined
  /** When a token is asked for anew, as long as the link lives. */
  #askAgainAt: number | undefined
  #hidden = false
  #offline = false
  #level: Level = 'good'
  #out: Output[] = []

  /** The same seed, options and inputs give the same outputs. */
  constructor(seed: number, options: O) {
    this.options = options
    this.rng = new Rng(seed)
    this.backoff = new Backoff(options)
    this.link = options.link
    this.attemptsMax = options.attemptsMax ?? ATTEMPTS_MAX
  }

  /** Takes an input and answers what is to be done, in order. `now` never falls. */
  handle(now: number, input: Input): Output[] {
    this.now = now
    this.#out = []
    ;(this as unknown as Handlers<Input>)[input.type](input as never)
    this.flush?.()
    this.#settle()
    return this.#out
  }

  /** When `timeout` is due. */
  nextTimeout(): number | undefined {
    if (this.state === 'closed') return undefined
    const due = Math.min(...this.timers().map((at) => at ?? Number.POSITIVE_INFINITY))
    return due < Number.MAX_SAFE_INTEGER ? due : undefined
  }

  /** Whether this link is still wanted. */
  dials(link: number): boolean {
    return this.dialing?.link === link
  }

  protected connect(): void {
    if (this.active || this.dialing) return
    this.#authFailures = 0
    this.#offline = false
    // Who asks by hand does not wait for an answer that may never come.
    this.#authorizeUntil = undefined
    this.redial()
  }

  protected close({ bye }: Of<Input, 'close'>): void {
    if (bye && this.active) this.bye?.(this.active.link)
    this.#dropLinks()
    this.ended?.()
    this.#authorizeUntil = undefined
    this.#rest('closed')
  }

  protected token({ token }: Of<Input, 'token'>): void {
    if (this.#authorizeUntil === undefined) return
    this.#authorizeUntil = undefined
    this.bearer = token
    if (this.state === 'authorizing') this.#dial()
    // Asked for on a link that is gone, it waits for the next `hello`.
    else if (this.active && token !== undefined) this.refresh?.(this.active.link, token)
  }

  protected token_failed({ retry }: { retry: boolean }): void {
    if (this.#authorizeUntil === undefined) return
    this.#authorizeUntil = undefined
    if (this.state !== 'authorizing') {
      if (retry && this.active) this.#askAgainAt = this.now + ASK_AGAIN_US
    } else if (retry) this.#wait(undefined)
    else this.#rest('blocked')
  }

  protected reauthenticate(): void {
    this.#authorizeUntil = undefined
    if (this.active) return this.authorize()
    this.bearer = undefined
    this.#authFailures = 0
    this.redial()
  }

  protected hint({ hint }: Of<Input, 'hint'>): void {
    if (hint === 'hidden') this.#hidden = true
    if (hint === 'visible') this.#hidden = false
    if (hint === 'offline') this.#offline = true
    // Only these two say that there is a network; the others say that it is worth a look.
    if (hint === 'online' || hint === 'network_change') this.#offline = false
    const { active, state } = this
    const waits = state === 'waiting' || state === 'dormant'
    if (active) {
      if (hint !== 'hidden' && (active.probe?.patient ?? true)) this.probe()
    } else if (hint === 'offline') {
      if (waits) this.#rest('offline')
    } else if (hint === 'hidden') {
      if (state === 'waiting' && !this.options.dialHidden) this.#sleep()
    } else if ((waits || state === 'offline') && !this.#offline) {
      const soon = this.now + this.backoff.hinted(this.rng) * 1000
      this.redialAt = Math.min(this.redialAt ?? soon, soon)
      this.moveTo('waiting')
    }
  }

  protected thawed(): void {
    // Nobody says what changed while the page was frozen.
    this.#hidden = this.#offline = false
    const link = this.dialing?.link ?? this.active?.link
    if (link === undefined) return this.hint({ type: 'hint', hint: 'wake' })
    this.closeLink(link)
    // No failure, and no wait.
    this.#gone(link, { kind: 'given_up' })
    this.redial()
  }

  /** A link that can be written to is used at once. A subclass may have to be welcomed before. */
  protected opened({ link }: { link: number }): void {
    if (!this.dials(link)) return
    const { heartbeat } = this.options
    const timeout = (heartbeat?.timeoutMs ?? 0) * 1000
    const silence = heartbeat ? heartbeat.intervalMs * 1000 + 2 * timeout : Number.POSITIVE_INFINITY
    this.adopt(silence, timeout)
  }

  protected received({ link }: { link: number }): void {
    const { active } = this
    if (active?.link !== link) return
    const { probe } = active
    active.receivedAt = this.now
    active.probe = undefined
    this.health.missedProbes = 0
    // There is a network, or the server needs none.
    this.#offline = false
    // Whatever another server sends is its answer.
    if (probe && this.options.heartbeat) this.health.measured(this.now - probe.sentAt)
  }

  /** A link is gone. Only the newest and the one that is used matter. */
  protected failed({ link, evidence }: { link: number; evidence: Evidence }): void {
    const brief = this.active?.link === link && !this.backoff.lasted(this.now)
    const verdict = this.#gone(link, evidence)
    if (!verdict) return
    const replaced =
      verdict.code === 'replaced' || (evidence.kind === 'close' && evidence.code === 4409)
    if (replaced && link === this.link) {
      // An older link may still be open.
      this.#dropLinks()
      this.replaced()
    }
    // A newer link of ours took over and died before its welcome.
    else if (replaced) this.#recover({ class: 'network', confidence: 'guess' }, brief)
    else this.#recover(verdict, brief)
  }

  protected timeout(): void {
    const { dialing } = this
    if (dialing && this.#isDue(dialing.deadline)) {
      this.#giveUp(dialing.link, { kind: 'handshake_timeout' })
    }
    this.#checkSilence()
    if (this.#isDue(this.#pingAt())) this.probe(true)
    if (this.#isDue(this.#authorizeUntil)) this.token_failed({ retry: true })
    if (this.active && this.#isDue(this.#askAgainAt)) this.authorize()
    if (this.#isDue(this.redialAt)) this.redial()
  }

  protected timers(): (number | undefined)[] {
    const { active } = this
    return [
      this.dialing?.deadline,
      active && active.receivedAt + active.silenceMax,
      active?.probe?.deadline,
      this.#pingAt(),
      this.redialAt,
      this.#authorizeUntil,
      this.active && this.#askAgainAt,
    ]
  }

  /** The link that was used is gone. */
  protected unlink?(): void
  /** Writes what may be written. */
  protected flush?(): void
  /** Says goodbye on the link that is open. */
  protected bye?(link: number): void
  /** Gives up what only waits because the client might go on. */
  protected ended?(): void
  /** Hands a new token to the link that is open. */
  protected refresh?(link: number, token: string): void

  /** Writes a ping that the peer answers. */
  protected ping(link: number, _ts: number): void {
    this.output({ type: 'ping', link })
  }

  protected output(output: Output): void {
    this.#out.push(output)
  }

  protected closeLink(link: number, code = CLOSE_GOING_AWAY): void {
    this.output({ type: 'close_link', link, code })
  }

  protected emit(event: Event): void {
    this.output({ type: 'event', ...event })
  }

  protected moveTo(state: State): void {
    if (this.state === state) return
    this.state = state
    this.emit({ event: 'state', state })
  }

  /** A dialled link is the one that is used from now on. */
  protected adopt(silenceMax: number, pongTimeout: number): void {
    const { link = 0, helloAt } = this.dialing ?? {}
    this.dialing = this.redialAt = this.restartOverMs = this.#askAgainAt = undefined
    this.#authFailures = 0
    this.backoff.opened(this.now)
    // What an earlier link missed says nothing of this one.
    this.health.missedProbes = 0
    if (helloAt !== undefined) this.health.measured(this.now - helloAt)
    const { now } = this
    const staysUntil = this.active ? now + ADVISED_AFTER : now
    this.active = { link, staysUntil, receivedAt: now, silenceMax, pongTimeout, probe: undefined }
  }

  /** Another client took over: this one must never take it back, or both would do so for ever. */
  protected replaced(): void {
    this.#rest('blocked')
  }

  /** Dials, or asks for the token that this needs; instead of a dial that is on its way. */
  protected redial(): void {
    const { dialing } = this
    this.dialing = this.redialAt = undefined
    if (dialing) this.closeLink(dialing.link)
    if (this.options.authorize && this.bearer === undefined && !this.active) {
      this.authorize()
      this.moveTo('authorizing')
    } else this.#dial()
  }

  /** Asks the application for a token, once at a time. */
  protected authorize(): void {
    this.#askAgainAt = undefined
    if (this.#authorizeUntil !== undefined) return
    this.#authorizeUntil = this.now + this.options.authorizeTimeoutMs * 1000
    this.output({ type: 'authorize' })
  }

  /** Sends a ping whose answer, or any other byte, must come soon, or in the whole time of the link. */
  protected probe(patient = false): void {
    const { active } = this
    // Where silence is no sign of death nobody knows how to ask.
    if (!active || !Number.isFinite(active.silenceMax)) return
    const ts = Math.floor(this.now / 1000)
    const { pongTimeout } = active
    const wait = patient ? pongTimeout : this.health.probeTimeoutUs(pongTimeout)
    active.probe = { ts, sentAt: this.now, deadline: this.now + wait, patient }
    this.ping(active.link, ts)
  }

  #dial(): void {
    const link = ++this.link
    const deadline = this.now + this.options.connectTimeoutMs * 1000
    this.dialing = { link, helloAt: undefined, deadline }
    const url = this.redialUrl
    this.redialUrl = undefined
    if (!this.active) this.moveTo('connecting')
    this.output({ type: 'dial', link, url })
  }

  #dropLinks(): void {
    for (const link of [this.dialing, this.active]) {
      if (link) this.closeLink(link.link, CLOSE_NORMAL)
    }
    this.dialing = this.active = undefined
    this.unlink?.()
  }

  /** Forgets a link, and tells so; nothing where it was forgotten before. */
  #gone(link: number, evidence: Evidence): Verdict | undefined {
    if (this.dials(link)) this.dialing = undefined
    else if (this.active?.link === link) {
      this.active = undefined
      this.unlink?.()
    } else return undefined
    const verdict = classify(evidence, this.options.classOf)
    this.emit({ event: 'link_closed', link, evidence, verdict })
    return verdict
  }

  #giveUp(link: number, evidence: Evidence): void {
    this.closeLink(link)
    this.failed({ link, evidence })
  }

  #isDue(at: number | undefined): boolean {
    return at !== undefined && at <= this.now
  }

  /** When another server is asked for a sign of life. */
  #pingAt(): number | undefined {
    const { active } = this
    const { heartbeat } = this.options
    if (!active || !heartbeat || active.probe) return undefined
    return active.receivedAt + heartbeat.intervalMs * 1000
  }

  #checkSilence(): void {
    const { active, health } = this
    if (!active) return
    const { probe } = active
    const missed = probe && this.#isDue(probe.deadline)
    if (missed) health.missedProbes++
    if (
      active.receivedAt + active.silenceMax <= this.now ||
      health.missedProbes >= MISSED_PROBES_MAX
    ) {
      this.#giveUp(active.link, { kind: 'silence' })
    } else if (missed) this.probe(probe.patient)
  }

  /**
   * Decides what follows on a failure, once no link is left or a replacement failed. `brief`: the link
   * was welcomed, and proved nothing by its age.
   */
  #recover(verdict: Verdict, brief: boolean): void {
    if (this.dialing) return
    const { authorize, strategy } = this.options
    const usual = strategyOf(verdict)
    const asksAnew = usual === 'new_token' && authorize
    if (this.active && asksAnew) this.authorize()
    const chosen = this.active ? 'backoff' : (strategy?.(verdict, usual) ?? usual)
    if (chosen === 'backoff') return this.#wait(verdict.retry_after_ms)
    if (chosen === 'new_token') {
      this.bearer = undefined
      // Taken, and ended at once: so may the next one be.
      if (authorize && brief) return this.#wait(verdict.retry_after_ms)
      if (authorize && ++this.#authFailures < AUTH_FAILURES_MAX) return this.redial()
    }
    this.#rest('blocked')
  }

  /** Waits for the next attempt: a backoff, the spread of a restart, the network, or for long. */
  #wait(adviceMs: number | undefined): void {
    const over = this.restartOverMs
    this.restartOverMs = undefined
    // An announced restart is no failure.
    const delayMs =
      over === undefined
        ? this.backoff.failed(this.now, adviceMs, this.rng)
        : this.rng.below(over + 1)
    this.redialAt = this.now + delayMs * 1000
    if (this.active) return
    if (this.#offline) this.#rest('offline')
    else if (
      (this.#hidden && !this.options.dialHidden) ||
      this.backoff.failures > this.attemptsMax
    ) {
      this.#sleep()
    } else this.moveTo('waiting')
  }

  #sleep(): void {
    const at = this.now + (DORMANT_MS + this.rng.below(DORMANT_MS + 1)) * 1000
    // The server may have asked for more.
    this.redialAt = Math.max(this.redialAt ?? at, at)
    this.moveTo('dormant')
  }

  /** Goes where no time brings the next dial. */
  #rest(state: State): void {
    this.redialAt = undefined
    this.moveTo(state)
  }

  /** Tells what follows from the rest: healthy or probing, and the level. */
  #settle(): void {
    if (this.active) this.moveTo(this.active.probe ? 'probing' : 'open')
    const level = this.health.level(this.backoff.errorsPermille)
    if (this.#level === level) return
    this.#level = level
    this.emit({ event: 'health', level })
  }
}
