/**
 * When to dial again: full jitter, growing delays, the server's advice first.
 *
 * Owns the number of failed attempts in a row and the recent error rate. Must not know why an
 * attempt failed (`classify`) nor what is dialled. Times are microseconds.
 */

import type { Rng } from './rng.ts'

/** The longest advice that is obeyed: a mistaken server must not silence a client for days. */
export const ADVICE_MS_MAX = 10 * 60 * 1000
/**
 * The most that a dial is put off after a hint. Hints are local to a device or its network, so that
 * no server meets all its clients at once; and somebody is looking.
 */
const HINTED_MS_MAX = 100
/** The doublings after which any ceiling is at its bound. */
const DOUBLINGS_MAX = 16

/** The bounds of a {@link Backoff}. */
export interface BackoffConfig {
  /** The ceiling of the first delay. Default 1 s. */
  backoffMinMs: number
  /** The ceiling of every delay that the server did not ask for. Default 30 s. */
  backoffMaxMs: number
  /** A link that lived so long proves that the path works. Default 10 s. */
  minUptimeMs: number
  /** By what a ceiling grows with each failure. Default 2. */
  growFactor: number
}

/** The delays between one client's attempts. */
export class Backoff {
  /** Attempts that failed in a row. */
  failures = 0
  /** The recent share of failures, smoothed, in thousandths. */
  errorsPermille = 0
  #openedAt: number | undefined
  readonly #config: BackoffConfig

  constructor(config: BackoffConfig) {
    this.#config = config
  }

  /**
   * A link was welcomed. That alone proves little: a server that crashes on each client's first
   * message welcomes it, too.
   */
  opened(now: number): void {
    this.#openedAt = now
    this.errorsPermille -= Math.floor(this.errorsPermille / 8)
  }

  /** The server stored something: the path works, delays begin anew. */
  proved(): void {
    this.failures = 0
  }

  /** Whether the link that was welcomed last lived long enough to prove something. */
  lasted(now: number): boolean {
    return now - (this.#openedAt ?? Number.NaN) >= this.#config.minUptimeMs * 1000
  }

  /** An attempt or a link has failed: how many milliseconds to wait before the next. */
  failed(now: number, adviceMs: number | undefined, rng: Rng): number {
    const { backoffMinMs } = this.#config
    if (this.lasted(now)) this.failures = 0
    this.#openedAt = undefined
    const ceiling = this.#ceilingMs()
    this.failures += 1
    this.errorsPermille += Math.floor((1000 - this.errorsPermille) / 8)
    if (adviceMs === undefined) return rng.below(ceiling + 1)
    // Those who were told the same time must not come at the same time.
    const advice = Math.min(adviceMs, ADVICE_MS_MAX)
    return advice + rng.below(Math.floor(advice / 4) + backoffMinMs + 1)
  }

  /** The wait after a hint that dialling is worthwhile, in milliseconds: short, yet spread. */
  hinted(rng: Rng): number {
    return rng.below(Math.min(this.#config.backoffMinMs, HINTED_MS_MAX) + 1)
  }

  /**
   * Doubles with each failure and grows up to threefold with the error rate, so that a client
   * whose links open and break again waits longer than one that was cut once.
   */
  #ceilingMs(): number {
    const { backoffMinMs, backoffMaxMs, growFactor } = this.#config
    const grown = backoffMinMs * growFactor ** Math.min(this.failures, DOUBLINGS_MAX)
    return Math.min(Math.floor((grown * (1000 + 2 * this.errorsPermille)) / 1000), backoffMaxMs)
  }
}
