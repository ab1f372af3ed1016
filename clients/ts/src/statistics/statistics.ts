/**
 * Figures and a log of one client's life, both bounded.
 *
 * Owns the counting. It is told what happens and changes nothing.
 */

import { type Event, isOpen } from '../machine/contract.ts'

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
  readonly #figures: Statistics = {
    opens: 0,
    classes: Object.create(null),
    codes: Object.create(null),
    uptime: 0,
    reconnectMs: [],
    quality: [],
  }
  #startedAt: number | undefined
  #isOpen = false
  /** When it was opened or lost. */
  #since: number | undefined
  #upMs = 0

  constructor(wallMs: () => number) {
    this.#wallMs = wallMs
  }

  /** Takes an event of the machine and answers its line. Payloads and secrets are not kept. */
  record(event: Event): LogEntry {
    const at = this.#wallMs()
    const { data: _, session: __, ...kept } = event as Event & { data?: unknown; session?: unknown }
    const entry = { at, ...kept }
    push(this.#log, entry, LOG_MAX)
    this.#count(at, event)
    return entry
  }

  #count(at: number, event: Event): void {
    const { classes, codes, quality } = this.#figures
    if (event.event === 'state') this.#moved(at, isOpen(event.state))
    else if (event.event === 'health') push(quality, { at, level: event.level }, SAMPLES_MAX)
    else if (event.event === 'link_closed') {
      const { verdict, evidence } = event
      if (evidence.kind === 'given_up') return
      count(classes, verdict.class)
      // By its name, else by the number of the close or of the answer to the upgrade.
      const number = 'status' in evidence ? evidence.status : 'code' in evidence && evidence.code
      const code = verdict.code ?? number
      if (!code) return
      count(codes, code in codes || Object.keys(codes).length < CODES_MAX ? `${code}` : 'other')
    }
  }

  /** The figures as of now. */
  statistics(): Statistics {
    const now = this.#wallMs()
    const upMs = this.#upMs + (this.#isOpen ? now - (this.#since ?? now) : 0)
    const uptime = upMs / Math.max(1, now - (this.#startedAt ?? now))
    return JSON.parse(JSON.stringify({ ...this.#figures, uptime }))
  }

  /** The newest events, oldest first. */
  log(): LogEntry[] {
    return [...this.#log]
  }

  #moved(at: number, open: boolean): void {
    this.#startedAt ??= at
    if (open === this.#isOpen) return
    const ms = at - (this.#since ?? at)
    if (!open) this.#upMs += ms
    else if (this.#figures.opens++ > 0) push(this.#figures.reconnectMs, ms, SAMPLES_MAX)
    this.#isOpen = open
    this.#since = at
  }
}

function push<T>(list: T[], item: T, max: number): void {
  list.push(item)
  if (list.length > max) list.shift()
}

function count(counts: Record<string, number>, name: string): void {
  counts[name] = (counts[name] ?? 0) + 1
}
