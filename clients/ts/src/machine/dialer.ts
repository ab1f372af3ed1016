/**
 * The states of a client and when to dial.
 *
 * Owns commands, hints and timers, whatever protocol is spoken on the links. Must not know sockets,
 * clocks, entropy, nor messages: those are a subclass's.
 */

import { Backoff } from '../backoff/backoff.ts'
import { Rng } from '../backoff/rng.ts'
import { classify, type Evidence, strategyOf, type Verdict } from '../classify/classify.ts'
import { Health, type Level } from '../health/health.ts'
import type { DialerOptions, Event, Hint, Input, Output, State } from './contract.ts'

/**
 * A dormant client dials once per 60–120 s: often enough to come back by itself, too seldom to
 * burden a server that is down.
 */
const DORMANT_MS = 60_000
/** The attempts until dormant before a server has named a number. */
const ATTEMPTS_MAX = 10
/** Auth failures in a row, each after a new token, until the application must act. */
const AUTH_FAILURES_MAX = 2
/** Probes in a row whose loss is death. */
const MISSED_PROBES_MAX = 2
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
}

/**
 * The part of a machine that is the same for every protocol, sans-IO: feed it with {@link handle},
 * do what the outputs say in their order, and feed `timeout` when {@link nextTimeout} has come.
 */
export abstract class Dialer<O extends DialerOptions = DialerOptions> {
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
  protected token: string | undefined
  protected authFailures = 0
  protected dialing: Dialing | undefined
  protected active: Active | undefined
  protected attemptsMax: number
  protected redialUrl: string | undefined
  protected restartOverMs: number | undefined
  #authorizeUntil: number | undefined
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
    this.take(input)
    this.flush()
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

  /** The link can be written to. */
  protected abstract opened(link: number): void
  /** The link that was used is gone. */
  protected abstract unlink(): void
  /** Writes what may be written. */
  protected abstract flush(): void
  /** Writes a ping that the peer answers. */
  protected abstract ping(link: number, ts: number): void
  /** Says goodbye on the link that is open. */
  protected abstract bye(link: number): void
  /** Gives up what only waits because the client might go on. */
  protected abstract ended(): void
  /** Hands a new token to the link that is open. */
  protected abstract refresh(link: number, token: string): void

  protected take(input: Input): void {
    switch (input.type) {
      case 'connect':
        if (!this.active && !this.dialing) {
          this.authFailures = 0
          this.#offline = false
          this.start()
        }
        break
      case 'close':
        return this.#close(input.bye)
      case 'token':
        return this.#tookToken(input.token)
      case 'token_failed':
        return this.#tokenFailed(input.retry)
      case 'reauthenticate':
        return this.#reauthenticate()
      case 'hint':
        return this.#hint(input.hint)
      case 'thawed':
        return this.#thawed()
      case 'opened':
        if (this.dialing?.link === input.link) this.opened(input.link)
        break
      case 'received':
        return this.received(input.link)
      case 'failed':
        return this.failed(input.link, input.evidence)
      case 'timeout':
        return this.timeout()
    }
  }

  protected timers(): (number | undefined)[] {
    const { active } = this
    return [
      this.dialing?.deadline,
      active && active.receivedAt + active.silenceMax,
      active?.probe?.deadline,
      this.redialAt,
      this.#authorizeUntil,
    ]
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
    this.dialing = undefined
    this.redialAt = undefined
    this.restartOverMs = undefined
    this.authFailures = 0
    this.backoff.opened(this.now)
    if (helloAt !== undefined) this.health.measured(this.now - helloAt)
    this.active = { link, receivedAt: this.now, silenceMax, pongTimeout, probe: undefined }
  }

  protected received(link: number): void {
    const { active } = this
    if (active?.link !== link) return
    active.receivedAt = this.now
    active.probe = undefined
    this.health.missedProbes = 0
  }

  /** A link is gone. Only the newest and the one that is used matter. */
  protected failed(link: number, evidence: Evidence): void {
    if (this.dialing?.link === link) this.dialing = undefined
    else if (this.active?.link === link) {
      this.active = undefined
      this.unlink()
    } else return
    const verdict = classify(evidence, this.options.classOf)
    this.emit({ event: 'link_closed', link, evidence, verdict })
    const replaced =
      verdict.code === 'replaced' || (evidence.kind === 'close' && evidence.code === 4409)
    if (replaced && link === this.link) this.replaced()
    // A newer link of ours took over and died before its welcome.
    else if (replaced) this.#recover({ class: 'network', confidence: 'guess' })
    else this.#recover(verdict)
  }

  /** Another client took over: this one must never take it back, or both would do so for ever. */
  protected replaced(): void {
    this.#block()
  }

  protected timeout(): void {
    const { dialing } = this
    if (dialing && dialing.deadline <= this.now) {
      this.closeLink(dialing.link)
      this.failed(dialing.link, { kind: 'handshake_timeout' })
    }
    this.#checkSilence()
    if (this.#authorizeUntil !== undefined && this.#authorizeUntil <= this.now) {
      this.#tokenFailed(true)
    }
    if (this.redialAt !== undefined && this.redialAt <= this.now) this.start()
  }

  /** Dials, or asks for the token that this needs. */
  protected start(): void {
    this.redialAt = undefined
    if (this.options.authorize && this.token === undefined && !this.active) {
      this.authorize()
      this.moveTo('authorizing')
    } else this.#dial()
  }

  /** Dials anew, instead of a dial that is on its way. */
  protected redial(): void {
    const { dialing } = this
    this.dialing = undefined
    if (dialing) this.closeLink(dialing.link)
    this.start()
  }

  /** Asks the application for a token, once at a time. */
  protected authorize(): void {
    if (this.#authorizeUntil !== undefined) return
    this.#authorizeUntil = this.now + this.options.authorizeTimeoutMs * 1000
    this.output({ type: 'authorize' })
  }

  /** Sends a ping whose answer, or any other byte, must come soon. */
  protected probe(): void {
    const { active } = this
    if (!active) return
    const ts = Math.floor(this.now / 1000)
    const deadline = this.now + this.health.probeTimeoutUs(active.pongTimeout)
    active.probe = { ts, sentAt: this.now, deadline }
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

  #close(bye: boolean): void {
    if (bye && this.active) this.bye(this.active.link)
    for (const link of [this.dialing, this.active]) {
      if (link) this.closeLink(link.link, CLOSE_NORMAL)
    }
    this.dialing = this.active = undefined
    this.unlink()
    this.ended()
    this.redialAt = undefined
    this.#authorizeUntil = undefined
    this.moveTo('closed')
  }

  #tookToken(token: string | undefined): void {
    if (this.#authorizeUntil === undefined) return
    this.#authorizeUntil = undefined
    this.token = token
    if (!this.active) this.#dial()
    else if (token !== undefined) this.refresh(this.active.link, token)
  }

  #tokenFailed(retry: boolean): void {
    if (this.#authorizeUntil === undefined) return
    this.#authorizeUntil = undefined
    if (this.active) return
    if (retry) this.#wait(undefined)
    else this.#block()
  }

  #reauthenticate(): void {
    if (this.active) return this.authorize()
    this.token = undefined
    this.authFailures = 0
    this.redial()
  }

  #hint(hint: Hint): void {
    if (hint === 'hidden') this.#hidden = true
    if (hint === 'visible') this.#hidden = false
    if (hint === 'offline') this.#offline = true
    // Only these two say that there is a network; the others say that it is worth a look.
    if (hint === 'online' || hint === 'network_change') this.#offline = false
    if (this.active) {
      if (hint !== 'hidden' && !this.active.probe) this.probe()
      return
    }
    const waits = this.state === 'waiting'
    if (hint === 'offline') {
      if (!waits && this.state !== 'dormant') return
      this.redialAt = undefined
      this.moveTo('offline')
    } else if (hint === 'hidden') {
      if (waits && !this.options.dialHidden) this.#sleep()
    } else if ((waits || this.state === 'dormant' || this.state === 'offline') && !this.#offline) {
      const soon = this.now + this.backoff.hinted(this.rng) * 1000
      this.redialAt = Math.min(this.redialAt ?? soon, soon)
      this.moveTo('waiting')
    }
  }

  #thawed(): void {
    const link = this.dialing?.link ?? this.active?.link
    if (link === undefined) return
    this.closeLink(link)
    this.#hidden = false
    this.failed(link, { kind: 'close', code: 1006, reason: '' })
    // Whatever a failure would lead to: this dial is wanted. A replacement may be on its way.
    if (!this.dialing) this.start()
  }

  #checkSilence(): void {
    const { active } = this
    if (!active) return
    const missed = active.probe !== undefined && active.probe.deadline <= this.now
    if (missed) this.health.missedProbes++
    if (
      active.receivedAt + active.silenceMax <= this.now ||
      this.health.missedProbes >= MISSED_PROBES_MAX
    ) {
      this.closeLink(active.link)
      this.failed(active.link, { kind: 'silence' })
    } else if (missed) this.probe()
  }

  /** Decides what follows on a failure, once no link is left or a replacement failed. */
  #recover(verdict: Verdict): void {
    if (this.dialing) return
    if (this.active) return this.#wait(verdict.retry_after_ms)
    const usual = strategyOf(verdict)
    const strategy = this.options.strategy?.(verdict, usual) ?? usual
    if (strategy === 'backoff') this.#wait(verdict.retry_after_ms)
    else if (strategy === 'block') this.#block()
    else {
      this.token = undefined
      this.authFailures++
      if (this.options.authorize && this.authFailures < AUTH_FAILURES_MAX) this.start()
      else this.#block()
    }
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
    if (this.#offline) {
      this.redialAt = undefined
      this.moveTo('offline')
    } else if (
      (this.#hidden && !this.options.dialHidden) ||
      this.backoff.failures > this.attemptsMax
    ) {
      this.#sleep()
    } else this.moveTo('waiting')
  }

  #sleep(): void {
    this.redialAt = this.now + (DORMANT_MS + this.rng.below(DORMANT_MS + 1)) * 1000
    this.moveTo('dormant')
  }

  #block(): void {
    this.redialAt = undefined
    this.moveTo('blocked')
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
