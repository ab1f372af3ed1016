/**
 * Where a client stands in each of its channels.
 *
 * Owns the cursors and the decision whether a message is new, known, or proof of a fault. Must not
 * know links: the machine tells it when one begins.
 */

import type { Publication, Recovery } from '../codec/messages.ts'
import { type From, type Position, readPosition } from '../position/position.ts'

/** To be asked for on the next occasion. */
const WANTED = 'wanted'
const LIVE = 'live'
/** The reader is behind. */
const PAUSED = 'paused'

interface Subscription {
  from: From
  cursor: Position | undefined
  /** Or asked with this id (`hello` counts as 0), or refused until a time. */
  phase: typeof WANTED | typeof LIVE | typeof PAUSED | { asked: number } | { refused: number }
  /** A gap without a position: the next offset may be any higher one. */
  loose: boolean
  /** Paused on a channel without positions: what was published meanwhile is lost. */
  lossy: boolean
}

/** How a subscription goes on after an answer. */
interface Begun {
  /** Messages are known to be lost before it: it was paused on a channel without positions. */
  lossy: boolean
  /** The cursor, where it is ahead of the answer and stays: nothing in between is missing. */
  ahead: Position | undefined
}

/** All subscriptions of one client, in order of channel name. */
export class Subscriptions {
  #all = new Map<string, Subscription>()
  /** Whether one may be wanted or refused; saves the search on each input. */
  #restless = false

  /** Adds one to be asked for; one that exists is kept as it is. */
  add(channel: string, from: From): void {
    if (this.#all.has(channel)) return
    this.#all.set(channel, {
      from,
      cursor: undefined,
      phase: WANTED,
      loose: false,
      lossy: false,
    })
    this.#all = new Map([...this.#all].sort(([a], [b]) => (a < b ? -1 : 1)))
    this.#restless = true
  }

  /** Forgets one; whether there was one. */
  remove(channel: string): boolean {
    return this.#all.delete(channel)
  }

  /** What `hello` asks for. Those that are live on an older link stay so until `welcome`. */
  hello(): Map<string, From> {
    const asked = new Map<string, From>()
    for (const [channel, subscription] of this.#all) {
      if (subscription.phase === PAUSED) continue
      if (subscription.phase !== LIVE) subscription.phase = { asked: 0 }
      asked.set(channel, subscription.cursor ?? subscription.from)
    }
    return asked
  }

  /** The link on which they were asked for or live is gone. */
  unlink(): void {
    for (const subscription of this.#all.values()) {
      if (subscription.phase === LIVE || askedId(subscription) !== undefined) {
        subscription.phase = WANTED
      }
    }
    this.#restless = true
  }

  /** The next one to be asked for, now marked as asked with this id. */
  ask(now: number, id: number): [channel: string, from: From] | undefined {
    if (!this.#restless) return undefined
    for (const [channel, subscription] of this.#all) {
      const { phase } = subscription
      if (
        phase === WANTED ||
        (typeof phase === 'object' && 'refused' in phase && phase.refused <= now)
      ) {
        subscription.phase = { asked: id }
        return [channel, subscription.cursor ?? subscription.from]
      }
    }
    this.#restless = this.retryAt() !== undefined
    return undefined
  }

  /**
   * An answer came; nothing where it is not the one that is waited for. `id` is none within `welcome` and for what the server added by itself.
   */
  begin(channel: string, id: number | undefined, recovery: Recovery): Begun | undefined {
    if (id === undefined) this.add(channel, null)
    const subscription = this.#all.get(channel)
    if (!subscription) return undefined
    const expected = id === undefined ? subscription.phase !== PAUSED : askedId(subscription) === id
    if (!expected) return undefined
    subscription.phase = LIVE
    // An older link may have delivered more since `hello` told the position; what comes again is
    // then known, and so is what retention has taken below it. Where the log was rewound only the
    // answer counts.
    const cursor = readPosition(subscription.cursor)
    const answer = readPosition(recovery.position)
    const ahead =
      (recovery.recovered || recovery.reason === 'expired') &&
      cursor &&
      answer &&
      cursor.epoch === answer.epoch &&
      cursor.offset > answer.offset
    if (!ahead) subscription.cursor = recovery.position
    subscription.from = null
    subscription.loose = false
    const { lossy } = subscription
    subscription.lossy = false
    return { lossy, ahead: ahead ? subscription.cursor : undefined }
  }

  /** It was refused: for good, or until a time. */
  refuse(channel: string, until: number | undefined): void {
    const subscription = this.#all.get(channel)
    if (until === undefined || !subscription) this.#all.delete(channel)
    else {
      subscription.phase = { refused: until }
      this.#restless = true
    }
  }

  /** The channel of the subscription that was asked for with this id. */
  asked(id: number): string | undefined {
    for (const [channel, subscription] of this.#all) {
      if (askedId(subscription) === id) return channel
    }
    return undefined
  }

  /** Judges a message and moves the cursor. */
  judge(message: Publication): 'deliver' | 'ignore' | 'fault' {
    const subscription = this.#all.get(message.channel)
    if (subscription?.phase !== LIVE) return 'ignore'
    const judgement = judgeOffset(message.position, subscription)
    if (judgement === 'deliver') {
      if (message.position && subscription.cursor) subscription.loose = false
      subscription.cursor = message.position ?? subscription.cursor
    } else if (judgement === 'fault') {
      subscription.phase = WANTED
      this.#restless = true
    }
    return judgement
  }

  /** A gap was announced; whether it is one for this client. */
  gap(channel: string, position: Position | undefined, reason: string): boolean {
    const subscription = this.#all.get(channel)
    if (subscription?.phase !== LIVE) return false
    // An older link has delivered what retention took from this one.
    const cursor = readPosition(subscription.cursor)
    const gap = readPosition(position)
    const known = cursor && gap && cursor.epoch === gap.epoch && cursor.offset >= gap.offset
    if (known && reason === 'expired') return false
    if (position === undefined) subscription.loose = true
    else subscription.cursor = position
    return true
  }

  /** Stops one at its cursor; whether the server must be told. */
  pause(channel: string): boolean {
    const subscription = this.#all.get(channel)
    if (!subscription) return false
    const live = subscription.phase === LIVE
    const told = live || (askedId(subscription) ?? 0) > 0
    subscription.lossy ||= live && subscription.cursor === undefined
    subscription.phase = PAUSED
    return told
  }

  /** Wants a paused one again. */
  resume(channel: string): void {
    const subscription = this.#all.get(channel)
    if (subscription?.phase !== PAUSED) return
    subscription.phase = WANTED
    this.#restless = true
  }

  /** When a refused one may be asked for again. */
  retryAt(): number | undefined {
    if (!this.#restless) return undefined
    let earliest: number | undefined
    for (const { phase } of this.#all.values()) {
      if (typeof phase === 'object' && 'refused' in phase) {
        earliest = Math.min(earliest ?? phase.refused, phase.refused)
      }
    }
    return earliest
  }

  /** How many there are. */
  get size(): number {
    return this.#all.size
  }
}

function askedId(subscription: Subscription): number | undefined {
  const { phase } = subscription
  return typeof phase === 'object' && 'asked' in phase ? phase.asked : undefined
}

function judgeOffset(
  position: Position | undefined,
  { cursor, loose }: Subscription,
): 'deliver' | 'ignore' | 'fault' {
  const next = readPosition(position)
  const last = readPosition(cursor)
  if (!next || !last) return 'deliver'
  if (next.epoch !== last.epoch) {
    // The position of an absent channel carries the engine's epoch; its first publication brings
    // the channel's own.
    return last.offset === 0 && next.offset === 1 ? 'deliver' : 'fault'
  }
  if (next.offset <= last.offset) return 'ignore'
  return next.offset === last.offset + 1 || loose ? 'deliver' : 'fault'
}
