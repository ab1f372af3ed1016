/**
 * How well a link does: round trips, jitter, missed probes and the error rate as one level.
 *
 * Owns the estimate. Must not know when probes are sent; that is the machines' decision. Times
 * are microseconds.
 */

/**
 * The least wait for the answer to a probe. RFC 6298 (2.4) has 1 s; two of these, and a timer that
 * is late, must fit into the 2 s in which a dead link is to be noticed after a hint.
 */
const RTO_MIN_US = 800_000
/** A span so long that smoothing must not overflow. */
const SAMPLE_US_MAX = 2 ** 49

/**
 * A word for how well a link does: `dead` (two probes in a row were missed), `poor` (one was, or
 * usable with patience), `fair` (delays can be felt), `good`, `excellent` (as on a local network).
 */
export type Level = 'dead' | 'poor' | 'fair' | 'good' | 'excellent'

/**
 * The bounds from a level down to the next: round trip and jitter in microseconds, errors in
 * thousandths. 100 ms is the limit under which a reaction feels instant, 1 s where a train of
 * thought breaks (Nielsen 1993); a third of each for jitter.
 */
const BOUNDS: readonly [Level, number, number, number][] = [
  ['poor', 1_000_000, 300_000, 500],
  ['fair', 300_000, 100_000, 250],
  ['good', 100_000, 30_000, 50],
]

/** The estimate for one client's links. */
export class Health {
  /** The smoothed round trip (RFC 6298, section 2). */
  rttUs: number | undefined
  /** The smoothed difference between neighbouring round trips (RFC 3550, 6.4.1). */
  jitterUs = 0
  /** Probes missed in a row. */
  missedProbes = 0
  #rttvarUs = 0
  #lastUs = 0

  /** A round trip was measured. */
  measured(spanUs: number): void {
    const sample = Math.min(spanUs, SAMPLE_US_MAX)
    if (this.rttUs === undefined) {
      this.rttUs = sample
      this.#rttvarUs = Math.floor(sample / 2)
    } else {
      this.#rttvarUs = Math.floor((3 * this.#rttvarUs + Math.abs(this.rttUs - sample)) / 4)
      this.rttUs = Math.floor((7 * this.rttUs + sample) / 8)
    }
    if (this.#lastUs > 0) {
      this.jitterUs = Math.floor((15 * this.jitterUs + Math.abs(this.#lastUs - sample)) / 16)
    }
    this.#lastUs = sample
    this.missedProbes = 0
  }

  /** How long to wait for the answer to a probe: RFC 6298's timeout, at least 0.8 s and at most `most`. */
  probeTimeoutUs(mostUs: number): number {
    if (this.rttUs === undefined) return mostUs
    return Math.min(Math.max(this.rttUs + 4 * this.#rttvarUs, RTO_MIN_US), mostUs)
  }

  /** All of it as one word. */
  level(errorsPermille: number): Level {
    if (this.missedProbes > 0) return this.missedProbes > 1 ? 'dead' : 'poor'
    const rtt = this.rttUs ?? 0
    for (const [level, rttUs, jitterUs, errors] of BOUNDS) {
      if (rtt > rttUs || this.jitterUs > jitterUs || errorsPermille > errors) return level
    }
    return this.rttUs === undefined ? 'good' : 'excellent'
  }
}
