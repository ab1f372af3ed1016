/**
 * The client's random numbers: mulberry32, 32 bits of state from a seed that the shell hands in.
 *
 * Owns jitter, nothing else; not for secrets. The same seed draws the same numbers in every
 * language, so that traces replay.
 */

/** The greatest bound of {@link Rng.below}: the product with 32 bits stays exact in a double. */
const BOUND_MAX = 2 ** 21

/** A small seeded generator. */
export class Rng {
  #state: number

  constructor(seed: number) {
    this.#state = seed
  }

  /** The next 32 bits, unsigned. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    const a = this.#state
    let t = Math.imul(a ^ (a >>> 15), 1 | a)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return (t ^ (t >>> 14)) >>> 0
  }

  /** A whole number below `bound`, which is cut to 2^21; 0 where the bound is 0. */
  below(bound: number): number {
    return Math.floor((this.next() / 2 ** 32) * Math.min(bound, BOUND_MAX))
  }
}
