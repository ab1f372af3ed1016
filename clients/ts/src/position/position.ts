/**
 * Positions: where a reader stands in a channel, as the text `<epoch>.<offset>.<term>`.
 *
 * Owns the text form (PROTOCOL.md, "Positions"). A position stays text; it is only read to compare.
 */

/** A place in the history of a channel; opaque to applications. */
export type Position = string

/**
 * From where a channel is wanted: `null` from now, `'first'` everything that history has,
 * `{last: n}` the newest n, or what follows a position.
 */
export type From = null | 'first' | { last: number } | Position

const FORM = /^([0-9a-f]{16})\.(0|[1-9]\d{0,15})\.[0-9a-f]{8}$/

/** Epoch and offset, or nothing where the text is not a position. */
export function readPosition(text: unknown): { epoch: string; offset: number } | undefined {
  const parts = typeof text === 'string' ? FORM.exec(text) : null
  const offset = Number(parts?.[2])
  return parts && offset <= Number.MAX_SAFE_INTEGER
    ? { epoch: parts[1] as string, offset }
    : undefined
}

/** How far a position is behind another, where both are of one epoch. */
export function distance(from: unknown, to: unknown): number | undefined {
  const [first, last] = [readPosition(from), readPosition(to)]
  return first && last && first.epoch === last.epoch ? last.offset - first.offset : undefined
}
