/**
 * Where a client stands in each of its channels.
 *
 * Owns the cursors and the decision whether a message is new, known, or proof of a fault. Must not
 * know links: the machine tells it when one begins.
 */

import { utf8Length } from '../codec/bytes.ts'
import type { Publication, Recovery } from '../codec/messages.ts'
import { distance, type From, type Position, readPosition } from '../position/position.ts'

/** No server lets a channel have a longer name. */
const CHANNEL_BYTES_MAX = 1024
/** All but control characters, and halves of surrogate pairs, which no server reads. */
const CHANNEL = /^[ -~\xa0-\ud7ff\ue000-\u{10ffff}]+$/u
/**
 * All names that servers began by themselves: a `hello` with them fits into the 512 KiB that servers
 * read, even if each byte is escaped.
 */
const BEGUN_BYTES_MAX = 192 * 1024

interface Subscription {
  from: From
  cursor: Position | undefined
  /**
   * `wanted`: to be asked for on the next occasion. `asked` with the id `mark` (`hello` counts as 0).
   * `refused` until the time `mark`. `paused`: the reader is behind.
   */
  phase: 'wanted' | 'asked' | 'live' | 'refused' | 'paused'
  mark: number
  /** A gap without a position: the next offset may be any higher one. */
  loose: boolean
  /** Live once on a channel without positions, and not since: what was published meanwhile is lost. */
  lossy: boolean
  /** Offsets were left out, and nothing was delivered since. */
  faulty: boolean
  /** The server began it by itself, where it liked, and nobody has asked for it since. */
  byServer: boolean
}

/** All subscriptions of one client, in order of channel name where they are asked for. */
export class Subscriptions {
  #all = new Map<string, Subscription>()
  #isSorted = true
  readonly #max: number
  /** Bytes of the names that servers began by themselves. */
  #begunBytes = 0
  /** Nothing is to be asked for before; saves the search on each input. */
  #due = Number.POSITIVE_INFINITY

  /** None yet; `max` is how many there is room for. */
  constructor(max: number) {
    this.#max = max
  }

  /**
   * Adds one to be asked for; whether it is new: one that exists is kept as it is. The caller has
   * looked whether there is room.
   */
  add(channel: string, from: From): boolean {
    if (this.#all.has(channel)) return false
    this.#due = 0
    this.#insert(channel, from, false)
    return true
  }

  /** Forgets one; whether there was one. */
  remove(channel: string): boolean {
    if (this.#all.get(channel)?.byServer) this.#begunBytes -= utf8Length(channel)
    return this.#all.delete(channel)
  }

  /** Forgets one that the server began by itself; that one, if there was one. */
  removeByServer(channel: string): Subscription | undefined {
    const begun = this.#all.get(channel)
    if (!begun?.byServer) return
    this.remove(channel)
    return begun
  }

  /** What `hello` asks for. Each stays what it is on an older link until `welcome`, which may never come. */
  hello(): Record<string, From> {
    const asked: [string, From][] = []
    for (const [channel, subscription] of this.#sorted()) {
      if (subscription.phase === 'paused') continue
      asked.push([channel, subscription.cursor ?? subscription.from])
    }
    return Object.fromEntries(asked)
  }

  /** The link on which they were asked for or live is gone. */
  unlink(): void {
    for (const subscription of this.#all.values()) {
      leave(subscription)
      const { phase } = subscription
      if (phase === 'live' || phase === 'asked') this.#want(subscription)
    }
  }

  /** The next one to be asked for, now marked as asked with this id. */
  ask(now: number, id: number): [channel: string, from: From] | undefined {
    if (this.#due > now) return undefined
    let due = Number.POSITIVE_INFINITY
    for (const [channel, subscription] of this.#sorted()) {
      const { phase, mark, cursor, from } = subscription
      if (phase === 'wanted' || (phase === 'refused' && mark <= now)) {
        Object.assign(subscription, { phase: 'asked', mark: id })
        return [channel, cursor ?? from]
      }
      if (phase === 'refused') due = Math.min(due, mark)
    }
    this.#due = due
    return undefined
  }

  /**
   * An answer came: what the application is told of it; nothing where it is not the one that is waited
   * for. `id` is none within `welcome` and for what the server added by itself, which is not kept where
   * there is no room.
   */
  begin(channel: string, id: number | undefined, recovery: Recovery): Recovery | undefined {
    if (id === undefined && !this.#all.has(channel)) {
      const begunBytes = this.#begunBytes + utf8Length(channel)
      if (this.isFull || begunBytes > BEGUN_BYTES_MAX) return undefined
      this.#begunBytes = begunBytes
      this.#insert(channel, null, true)
    }
    const subscription = this.#all.get(channel)
    if (!subscription) return undefined
    const { phase, mark, cursor, lossy } = subscription
    const expected = id === undefined ? phase !== 'paused' : phase === 'asked' && mark === id
    if (!expected) return undefined
    const { position, recovered, reason } = recovery
    // An older link may have delivered more since `hello` told the position; what comes again is
    // then known, and so is what retention has taken below it. Where the log was rewound only the
    // answer counts.
    const whole = recovered || reason === 'expired'
    const ahead = whole && (distance(position, cursor) ?? 0) > 0 ? cursor : undefined
    Object.assign(subscription, {
      phase: 'live',
      from: null,
      cursor: ahead ?? position,
      loose: false,
      lossy: false,
    })
    if (ahead) return { recovered: true, position: ahead }
    // The server can't know that it was there before: it held no position to show.
    return lossy ? { ...recovery, recovered: false, reason: 'no_history' } : recovery
  }

  /** It was refused: for good, or until a time. One that was paused meanwhile stays so. */
  refuse(channel: string, until: number | undefined): void {
    const subscription = this.#all.get(channel)
    if (until === undefined || !subscription) this.remove(channel)
    else if (subscription.phase !== 'paused') {
      Object.assign(subscription, { phase: 'refused', mark: until })
      this.#due = Math.min(this.#due, until)
    }
  }

  /** The channel of the subscription that was asked for with this id. */
  asked(id: number): string | undefined {
    for (const [channel, { phase, mark }] of this.#all) {
      if (phase === 'asked' && mark === id) return channel
    }
    return undefined
  }

  /** Judges a message and moves the cursor. `faults`: again, and nothing was delivered in between. */
  judge(message: Publication): 'deliver' | 'ignore' | 'fault' | 'faults' {
    const subscription = this.#all.get(message.channel)
    if (subscription?.phase !== 'live') return 'ignore'
    const judgement = judgeOffset(message.position, subscription)
    if (judgement === 'deliver') {
      if (message.position && subscription.cursor) subscription.loose = false
      subscription.cursor = message.position ?? subscription.cursor
      subscription.faulty = false
    } else if (judgement === 'fault') {
      this.#want(subscription)
      if (subscription.faulty) return 'faults'
      subscription.faulty = true
    }
    return judgement
  }

  /** A gap was announced; whether it is one for this client. */
  gap(channel: string, position: Position | undefined, reason: string): boolean {
    const subscription = this.#all.get(channel)
    if (subscription?.phase !== 'live') return false
    // An older link has delivered what retention took from this one.
    const known = (distance(position, subscription.cursor) ?? -1) >= 0
    if (known && reason === 'expired') return false
    if (position === undefined) subscription.loose = true
    else subscription.cursor = position
    return true
  }

  /** Stops one at its cursor; whether the server must be told. */
  pause(channel: string): boolean {
    const subscription = this.#all.get(channel)
    if (!subscription) return false
    leave(subscription)
    const { phase, mark } = subscription
    subscription.phase = 'paused'
    // `hello` asks again without it.
    return phase === 'live' || (phase === 'asked' && mark > 0)
  }

  /** Wants a paused one again; whether it was paused. */
  resume(channel: string): boolean {
    const subscription = this.#all.get(channel)
    if (subscription?.phase !== 'paused') return false
    this.#want(subscription)
    return true
  }

  /** When a refused one may be asked for again, or before: some may be gone since. */
  retryAt(): number {
    return this.#due
  }

  /** Whether there is no room for another. */
  get isFull(): boolean {
    return this.#all.size >= this.#max
  }

  #insert(channel: string, from: From, byServer: boolean): void {
    const flags = { loose: false, lossy: false, faulty: false, byServer }
    this.#all.set(channel, { from, cursor: undefined, phase: 'wanted', mark: 0, ...flags })
    this.#isSorted = false
  }

  #sorted(): Map<string, Subscription> {
    if (!this.#isSorted) this.#all = new Map([...this.#all].sort(([a], [b]) => (a < b ? -1 : 1)))
    this.#isSorted = true
    return this.#all
  }

  #want(subscription: Subscription): void {
    subscription.phase = 'wanted'
    this.#due = 0
  }
}

/** Whether a channel may be called so. */
export function isChannel(name: string): boolean {
  return CHANNEL.test(name) && utf8Length(name) <= CHANNEL_BYTES_MAX
}

/** It is about to be live no more, for a time. */
function leave(subscription: Subscription): void {
  subscription.lossy ||= subscription.phase === 'live' && subscription.cursor === undefined
}

function judgeOffset(
  position: Position | undefined,
  { cursor, loose }: Subscription,
): 'deliver' | 'ignore' | 'fault' {
  const next = readPosition(position)
  const last = readPosition(cursor)
  if (!next || !last) return 'deliver'
  const ahead = distance(cursor, position)
  if (ahead === undefined) {
    // The position of an absent channel carries the engine's epoch; its first publication brings
    // the channel's own.
    return last.offset === 0 && next.offset === 1 ? 'deliver' : 'fault'
  }
  if (ahead <= 0) return 'ignore'
  return ahead === 1 || loose ? 'deliver' : 'fault'
}
