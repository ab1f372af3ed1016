/**
 * Runs a machine: feeds it, does what it says, and keeps its time.
 *
 * Owns the links and the timer. Must not know what applications see.
 */

import type { Evidence } from '../classify/classify.ts'
import type { Environment } from '../environment/environment.ts'
import { attempt } from '../events/target.ts'
import type { Event, Input, Machine, Output } from '../machine/contract.ts'
import { causeOf } from './cause.ts'
import { type Destination, Link, type LinkEnd } from './link.ts'
import { askWhy } from './refusal.ts'

/**
 * A timer that is so late fired after a stall: messages wait behind it, and they are read before
 * anything is called dead.
 */
const LATE_MS = 200
/** How long they get. */
const YIELD_MS = 50
/** Inputs in one go: listeners that answer each event with another must not hold up all else. */
const TURNS_MAX = 1000
/** The longest time that every platform's timers take. */
const TIMER_MS_MAX = 2 ** 31 - 1

/** What a runner needs to know of its client. */
export interface Host {
  /** Whether a failed upgrade may be asked about over HTTP. */
  readonly asksWhy: boolean
  /** Where to dial; `url` is the server's advice for once. */
  target(url: string | undefined): Promise<Destination>
  token(): Promise<string | undefined>
  frame(link: number, data: unknown): void
  output(output: Output): void
  /** `end`: how the link ended that this tells of; none where it was given up for dead. */
  event(event: Event, end: LinkEnd | undefined): void
  /** A link is over that the application closed. */
  ended(end: LinkEnd | undefined): void
}

/** Runs one machine. */
export class Runner {
  readonly machine: Machine
  readonly #environment: Environment
  readonly #host: Host
  readonly #links = new Map<number, Link>()
  /** How often a token was asked for. */
  #questions = 0
  readonly #queue: [input: Input, before: (() => void) | undefined][] = []
  /** How the application asked to close. */
  #farewell: [code: number | undefined, reason: string] = [undefined, '']
  /** The link that the application closes: its end is told as it comes. */
  #closing: Link | undefined
  /** How the link ended that is being told of. */
  #end: LinkEnd | undefined
  #feeding = false
  #timer: unknown
  /** A late timer looks again soon: what is fed meanwhile must not put that off. */
  #looksAgain = false
  #failedUpgrades = 0
  /** The newest hint since it was asked why an upgrade failed, which may take seconds. */
  #hinted: Input | undefined

  constructor(machine: Machine, environment: Environment, host: Host) {
    this.machine = machine
    this.#environment = environment
    this.#host = host
  }

  /**
   * Feeds an input; one that comes while another is handled waits for its turn. `before` is called
   * when that has come.
   */
  feed(input: Input, before?: () => void): void {
    this.#queue.push([input, before])
    if (input.type === 'hint') this.#hinted = input
    if (!this.#feeding) this.#drain()
  }

  /** The link with this number. */
  link(number: number): Link | undefined {
    return this.#links.get(number)
  }

  /** The newest link. */
  newest(): Link | undefined {
    return [...this.#links.values()].at(-1)
  }

  /** Closes all links; the machine learns of it when the page comes back. */
  letGo(): void {
    for (const link of this.#links.values()) link.abandon()
  }

  /** Closes all links as the application asked, and tells when the newest is over. */
  end(code: number | undefined, reason: string): void {
    this.#farewell = [code, reason]
    this.feed({ type: 'close', bye: true })
  }

  #drain(): void {
    this.#feeding = true
    try {
      for (let turn = 0; turn < TURNS_MAX; turn++) {
        const [input, before] = this.#queue.shift() ?? []
        if (!input) break
        before?.()
        const closes = input.type === 'close'
        // One that failed while it is asked why has told its end.
        if (closes) this.#closing = [...this.#links.values()].filter((link) => !link.over).at(-1)
        for (const output of this.machine.handle(this.#environment.now(), input)) {
          // The application's parts in it may throw: that must not cost what follows.
          attempt(() => this.#perform(output))
        }
        if (closes) this.#close()
      }
    } finally {
      this.#feeding = this.#queue.length > 0
      this.#schedule()
      if (this.#feeding) this.#environment.setTimeout(() => this.#drain(), 0)
    }
  }

  #close(): void {
    this.#links.clear()
    if (this.#closing) this.#closing.close(...this.#farewell)
    else this.#host.ended(undefined)
  }

  #perform(output: Output): void {
    switch (output.type) {
      case 'authorize':
        void this.#authorize()
        break
      case 'dial':
        void this.#dial(output.link, output.url)
        break
      case 'close_link':
        if (this.#links.get(output.link) !== this.#closing || !this.#closing) {
          this.#links.get(output.link)?.abandon()
          this.#links.delete(output.link)
        }
        break
      case 'event': {
        const { type, ...event } = output
        this.#host.event(event, this.#end)
        if (event.event === 'link_closed') {
          this.#links.delete(event.link)
          this.#end = undefined
        }
        break
      }
      default:
        this.#host.output(output)
    }
  }

  async #authorize(): Promise<void> {
    const question = ++this.#questions
    const answer = await this.#host.token().then(
      (token): Input => ({ type: 'token', token }),
      (error): Input => ({ type: 'token_failed', retry: error?.retry !== false }),
    )
    // Asked anew meanwhile, only the newest counts.
    if (question === this.#questions) this.feed(answer)
  }

  async #dial(number: number, advised: string | undefined): Promise<void> {
    const fail = (evidence: Evidence) => this.feed({ type: 'failed', link: number, evidence })
    let target: Destination
    try {
      target = await this.#host.target(advised)
    } catch (error) {
      return fail({ kind: 'token', retry: true, cause: causeOf(error) })
    }
    if (this.machine.state === 'closed' || !this.machine.dials(number)) return
    try {
      const link = new Link(this.#environment, target, {
        opened: () => {
          if (!this.#links.has(number)) return
          this.#failedUpgrades = 0
          const { subprotocol } = target
          if (!subprotocol || link.socket.protocol === subprotocol) {
            return this.feed({ type: 'opened', link: number })
          }
          link.abandon()
          this.#links.delete(number)
          fail({ kind: 'not_websocket' })
        },
        frame: (data) => this.#host.frame(number, data),
        ended: (end) => {
          if (link === this.#closing) this.#host.ended(end)
          else void this.#ended(number, end, target.url)
        },
      })
      this.#links.set(number, link)
    } catch (error) {
      fail({ kind: 'violation', cause: causeOf(error) })
    }
  }

  async #ended(number: number, end: LinkEnd, url: string): Promise<void> {
    let evidence: Evidence = { kind: 'close', code: end.code, reason: end.reason }
    this.#hinted = undefined
    if (!end.opened) {
      // The first failure may be chance; from the second on the reason is worth a request.
      this.#failedUpgrades++
      evidence =
        this.#failedUpgrades > 1 && this.#host.asksWhy
          ? await askWhy(this.#environment, url)
          : { kind: 'opaque' }
    }
    this.#end = end
    this.feed({ type: 'failed', link: number, evidence })
    this.#end = undefined
    // The machine took it for one that came during the dial, and that was over already.
    if (this.#hinted) this.feed(this.#hinted)
  }

  #schedule(): void {
    if (this.#looksAgain) return
    this.#environment.clearTimeout(this.#timer)
    const due = this.machine.nextTimeout()
    if (due === undefined) return
    const ms = Math.ceil((due - this.#environment.now()) / 1000)
    this.#timer = this.#environment.setTimeout(
      () => this.#fire(due),
      Math.min(Math.max(ms, 0), TIMER_MS_MAX),
    )
  }

  #fire(due: number): void {
    const lateMs = (this.#environment.now() - due) / 1000
    if (lateMs < 0) return this.#schedule()
    if (lateMs < LATE_MS) return this.feed({ type: 'timeout' })
    this.#looksAgain = true
    this.#timer = this.#environment.setTimeout(() => {
      this.#looksAgain = false
      const next = this.machine.nextTimeout()
      if (next !== undefined && next <= this.#environment.now()) this.feed({ type: 'timeout' })
      else this.#schedule()
    }, YIELD_MS)
  }
}
