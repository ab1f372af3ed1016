/**
 * Figures and a log of one client's life, both bounded.
 *
 * Owns the counting. It is told what happens and changes nothing.
 */

import type { Verdict } from '../classify/classify.ts'
import { type Event, isOpen, type State } from '../machine/contract.ts'

/** Events that the log holds. */
const LOG_MAX = 500
/** Samples of reconnect times and of health. */
const SAMPLES_MAX = 100
/** Different codes that are counted one by one; the rest is counted together. */
const CODES_MAX = 100

/** One line of the log. */
export interface LogEntry {
  /** Milliseconds since 1970. */
  at: number
  event: string
  [field: string]: unknown
}

/** The figures. */
export interface Statistics {
  /** Links that were open. */
  opens: number
  /** Failures by class and by code. */
  classes: Record<string, number>
  codes: Record<string, number>
  /** The share of the time since the first dial with an open link, from 0 to 1. */
  uptime: number
  /** How long the last interruptions lasted, in milliseconds, newest last. */
  reconnectMs: number[]
  /** The level of health over time, newest last. */
  quality: { at: number; level: string }[]
}

/** Counts and logs. */
export class Recorder {
  readonly #wallMs: () => number
  readonly #log: LogEntry[] = []
  readonly #classes: Record<string, number> = Object.create(null)
  readonly #codes: Record<string, number> = Object.create(null)
  readonly #reconnectMs: number[] = []
  readonly #quality: { at: number; level: string }[] = []
  #opens = 0
  #startedAt: number | undefined
  #openedAt: number | undefined
  #lostAt: number | undefined
  #upMs = 0

  constructor(wallMs: () => number) {
    this.#wallMs = wallMs
  }

  /** Takes an event of the machine. Payloads and secrets are not kept. */
  record(event: Event): void {
    const at = this.#wallMs()
    const { data: _, session: __, ...kept } = event as Event & { data?: unknown; session?: unknown }
    push(this.#log, { at, ...kept }, LOG_MAX)
    if (event.event === 'state') this.#moved(at, event.state)
    else if (event.event === 'link_closed') this.#failed(event.verdict)
    else if (event.event === 'health') push(this.#quality, { at, level: event.level }, SAMPLES_MAX)
  }

  /** The figures as of now. */
  statistics(): Statistics {
    const now = this.#wallMs()
    const up = this.#upMs + (this.#openedAt === undefined ? 0 : now - this.#openedAt)
    return {
      opens: this.#opens,
      classes: { ...this.#classes },
      codes: { ...this.#codes },
      uptime: this.#startedAt === undefined ? 0 : up / Math.max(1, now - this.#startedAt),
      reconnectMs: [...this.#reconnectMs],
      quality: [...this.#quality],
    }
  }

  /** The newest events, oldest first. */
  log(): LogEntry[] {
    return [...this.#log]
  }

  #moved(at: number, state: State): void {
    this.#startedAt ??= at
    const open = isOpen(state)
    if (open && this.#openedAt === undefined) {
      this.#opens++
      this.#openedAt = at
      if (this.#lostAt !== undefined) push(this.#reconnectMs, at - this.#lostAt, SAMPLES_MAX)
      this.#lostAt = undefined
    } else if (!open && this.#openedAt !== undefined) {
      this.#upMs += at - this.#openedAt
      this.#openedAt = undefined
      this.#lostAt = at
    }
  }

  #failed({ class: class_, code }: Verdict): void {
    count(this.#classes, class_)
    if (code === undefined) return
    const known = code in this.#codes || Object.keys(this.#codes).length < CODES_MAX
    count(this.#codes, known ? code : 'other')
  }
}

function push<T>(list: T[], item: T, max: number): void {
  list.push(item)
  if (list.length > max) list.shift()
}

function count(counts: Record<string, number>, name: string): void {
  counts[name] = (counts[name] ?? 0) + 1
}
