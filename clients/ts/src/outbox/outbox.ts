/**
 * Numbered messages that wait for their ack.
 *
 * Owns their order, their numbers and their bounds (PROTOCOL.md, "Upstream"). A message gets its
 * seq when first written. One that is given up after that stays as a *skip*, because its number
 * must be taken before the session can go on. Must not know links beyond "a new one".
 */

import { utf8Length } from '../codec/bytes.ts'
import { isTooDeep } from '../codec/encode.ts'
import type { ClientMessage, ErrorInfo, Payload } from '../codec/messages.ts'

/** The ceiling of the first wait after a refusal that came without advice; it doubles. */
const RETRY_MS = 250
/** The ceiling of those waits. */
const RETRY_MS_MAX = 30_000
/**
 * How long the reply of a `send` that was written twice may come after its ack. A server writes the two
 * close together, and to a duplicate the ack alone.
 */
const REPLY_AFTER_ACK_MS = 10_000
/**
 * Room for the channel, tag and method of a message, as JSON, in a frame that the server reads: the 4,096
 * bytes that it has beside the payload, but for the names of the fields and the number.
 */
const HEADER_BYTES_MAX = 4096 - 128
/** Refusals after which the message may still take effect. */
const UNKNOWN_FATES = ['fate_unknown', 'handler_timeout']
/** What is resent at once the first time: it says no more than from where. */
const AT_ONCE = ['out_of_order', 'too_many_inflight']

/** A message for the outbox: with a channel a `publish`, else a `send` to the application. */
export interface Item {
  channel?: string | undefined
  data: Payload
  /** Of a publish: echoed in `message`. */
  tag?: string | undefined
  /** Of a send: what the application is to do. */
  method?: string | undefined
}

/** Whether a message that is dropped may have been stored. */
export type Fate = 'refused' | 'unknown'

/** A message that leaves the outbox. */
export type Resolved =
  | { event: 'acked'; key: number }
  | { event: 'reply_lost'; key: number }
  | { event: 'dropped'; key: number; fate: Fate; reason: string }

/** The bounds of an {@link Outbox}. */
export interface OutboxConfig {
  /** The most messages. Default 1,000. */
  outboxMessagesMax: number
  /** The most bytes of payload. Default 4 MiB. */
  outboxBytesMax: number
  /** Older ones are dropped. Default 12 h; at most half of the `session_ttl` that the server has told. */
  outboxAgeMaxMs: number
  /**
   * What gives way where there is no room: the new message (`newest`, the default), or the oldest
   * that were never written (`oldest`). What was written may have been stored, and stays.
   */
  outboxDrops: 'newest' | 'oldest'
}

/** A message that waits. */
export interface Entry {
  key: number
  /** None: a skip. */
  item: Item | undefined
  bytes: number
  /** None: never written. */
  seq: number | undefined
  queuedAt: number
  /** The reply of a `send` came before its ack. */
  replied?: boolean
  /** Written more than once in its session: the server may take it for a duplicate. */
  rewritten?: boolean
  /**
   * It was on its way when the server lost track, in a session that was lost, or to the application when the
   * link ended: a refusal says nothing of the other attempt.
   */
  doubtful?: boolean
}

/** How many bytes of payload a message has. */
export function payloadBytes(data: Payload): number {
  return typeof data === 'string' ? utf8Length(data) : data.length
}

/** Whether a server that takes payloads of `bytesMax` would not read the frame of this message. */
export function isTooBig(
  { channel, data, tag, method }: Item,
  bytesMax = Number.POSITIVE_INFINITY,
): boolean {
  const header = JSON.stringify([channel, tag, method])
  return payloadBytes(data) > bytesMax || utf8Length(header) > HEADER_BYTES_MAX
}

/** The outbox of one client. It tells of each message that leaves it. */
export class Outbox {
  /** In order of seq, then the unnumbered ones; numbered ones are contiguous up to `next − 1`. */
  entries: Entry[] = []
  /** The next unused seq. */
  next = 1
  /** When {@link write} has something again after a refusal. */
  pausedUntil: number | undefined
  /** Bytes of payload in it. */
  bytes = 0
  /** The next entry to write on the present link. */
  #cursor = 0
  #refusals = 0
  /** Acked sends whose reply may still come over the present link, by seq: the key, and until when. */
  readonly #replies = new Map<number, [key: number, until: number]>()
  readonly #config: OutboxConfig
  /** The age at which messages are given up. */
  #ageMaxMs: number
  readonly #tell: (resolved: Resolved) => void

  constructor(config: OutboxConfig, tell: (resolved: Resolved) => void) {
    this.#config = config
    this.#ageMaxMs = config.outboxAgeMaxMs
    this.#tell = tell
  }

  /** Takes up what an earlier life of this client had kept, numbers included. */
  restore(next: number, entries: Entry[]): void {
    this.next = next
    this.entries = entries
    this.bytes = entries.reduce((sum, entry) => sum + entry.bytes, 0)
  }

  /**
   * Takes a message, or says why not; then it was not numbered. Old ones are given up for it where the
   * application wants it so. `bytesMax` is what the server takes.
   */
  push(now: number, key: number, item: Item, bytesMax: number | undefined): string | undefined {
    if (isTooBig(item, bytesMax)) return 'message_too_big'
    const bytes = payloadBytes(item.data)
    // The server refuses the whole frame, its number unread: the session could not go on behind it.
    if (isTooDeep(item.data)) return 'too_deep'
    const { outboxMessagesMax, outboxBytesMax, outboxDrops } = this.#config
    const isFull = () =>
      this.entries.length >= outboxMessagesMax || this.bytes + bytes > outboxBytesMax
    // Bounded by the entries: each turn takes one away.
    while (outboxDrops === 'oldest' && bytes <= outboxBytesMax && isFull()) {
      const index = this.entries.findIndex((entry) => !wasWritten(entry))
      const [entry] = index < 0 ? [] : this.entries.splice(index, 1)
      if (!entry) break
      this.#drop(entry, 'refused', 'outbox_full')
    }
    if (isFull()) return 'outbox_full'
    this.bytes += bytes
    this.entries.push({ key, item, bytes, seq: undefined, queuedAt: now })
    return undefined
  }

  /**
   * A new link: everything unresolved is written again, and replies of the old one are lost. What was on its
   * way to the application may have had its effect, which no number tells.
   */
  relink(): void {
    for (const entry of this.entries.slice(0, this.#cursor)) {
      if (entry.item?.channel === undefined) entry.doubtful = true
    }
    this.#cursor = 0
    this.pausedUntil = undefined
    this.#loseReplies()
  }

  /**
   * The next message for the present link, or none: all are written, `inflightMax` is reached, or a
   * refusal asked to wait.
   */
  write(now: number, inflightMax: number): ClientMessage | undefined {
    if (this.pausedUntil !== undefined && now < this.pausedUntil) return undefined
    this.pausedUntil = undefined
    const { entries } = this
    // A skip would take what stands before it as well, which is not answered.
    if (this.#cursor > 0 && isSkip(entries[this.#cursor])) return undefined
    // A run of skips is one `skip`: it takes every number up to its own.
    let entry = entries[this.#cursor]
    while (entry && !entry.item && isSkip(entries[this.#cursor + 1])) {
      entry = entries[++this.#cursor]
    }
    if (!entry || (entry.item && this.#cursor >= inflightMax)) return undefined
    entry.rewritten = entry.seq !== undefined
    entry.seq ??= this.next++
    this.#cursor++
    const { item, seq } = entry
    if (!item) return { type: 'skip', seq }
    const { channel, data, tag, method } = item
    return channel === undefined
      ? { type: 'send', seq, data, method }
      : { type: 'publish', seq, channel, data, tag }
  }

  /** Everything up to `seq` is stored. `final`: no reply can follow, as after `welcome`. */
  acked(now: number, seq: number, final: boolean): void {
    // Bounded by the entries: each turn takes one away.
    for (let entry = this.entries[0]; entry; entry = this.entries[0]) {
      if (entry.seq === undefined || entry.seq > seq) break
      this.entries.shift()
      this.#cursor = Math.max(0, this.#cursor - 1)
      this.#refusals = 0
      this.bytes -= entry.bytes
      const { key, item, replied, rewritten } = entry
      if (!item) continue
      this.#tell({ event: 'acked', key })
      if (item.channel !== undefined || replied) continue
      if (final) this.#tell({ event: 'reply_lost', key })
      else {
        this.#loseReplies(({ size }) => size >= this.#config.outboxMessagesMax)
        const until = rewritten ? now + REPLY_AFTER_ACK_MS * 1000 : Number.POSITIVE_INFINITY
        this.#replies.set(entry.seq, [key, until])
      }
    }
  }

  /** Gives up the replies that are chosen, or all. */
  #loseReplies(chosen = (_: Map<number, unknown>, __: number) => true): void {
    for (const [seq, [key, until]] of this.#replies) {
      if (!chosen(this.#replies, until)) continue
      this.#replies.delete(seq)
      this.#tell({ event: 'reply_lost', key })
    }
  }

  /** The key of the `send` that a reply answers. */
  replied(seq: number): number | undefined {
    const [key] = this.#replies.get(seq) ?? []
    if (this.#replies.delete(seq)) return key
    const entry = this.entries.find((entry) => entry.seq === seq)
    if (!entry?.item || entry.replied) return undefined
    entry.replied = true
    return entry.key
  }

  /** The server refused `seq`, and with it discards everything above. `jitter` draws below. */
  refused(now: number, seq: number, error: ErrorInfo, jitter: (bound: number) => number): void {
    this.acked(now, seq - 1, false)
    // Of a number that is acked it says that its reply can't come.
    const [lost] = this.#replies.get(seq) ?? []
    if (lost !== undefined && this.#replies.delete(seq))
      this.#tell({ event: 'reply_lost', key: lost })
    const entry = this.entries[0]
    if (entry?.seq !== seq) return
    this.#cursor = 0
    if (UNKNOWN_FATES.includes(error.code)) {
      // What followed it may have been in the same commit.
      for (const entry of this.entries) if (entry.seq !== undefined) entry.doubtful = true
    }
    if (error.retry) {
      this.pausedUntil = now + this.#waitMs(error, jitter) * 1000
      this.#refusals++
    } else this.#drop(entry, entry.doubtful ? 'unknown' : 'refused', error.code)
  }

  #waitMs(error: ErrorInfo, jitter: (bound: number) => number): number {
    if (error.retry_after_ms !== undefined) {
      return Math.min(error.retry_after_ms, RETRY_MS_MAX * 10)
    }
    if (this.#refusals === 0 && AT_ONCE.includes(error.code)) return 0
    return jitter(Math.min(RETRY_MS * 2 ** Math.min(this.#refusals, 7), RETRY_MS_MAX) + 1)
  }

  /**
   * Gives up what is chosen, or everything: what was never written goes, what was becomes a skip. One that is
   * on its way is answered anyhow: its skip is written where the server has refused it or one before it, or
   * on the next link. Written before, it would let the server take what follows twice.
   */
  clear(reason: string, chosen = (_: Entry) => true): void {
    for (const entry of this.entries) {
      if (chosen(entry)) this.#drop(entry, wasWritten(entry) ? 'unknown' : 'refused', reason)
    }
    this.entries = this.entries.filter((entry) => entry.item || entry.seq !== undefined)
  }

  /** Drops what is older than the bound, and waits for no reply any longer than it may take. */
  expire(now: number): void {
    const bound = now - this.#ageMaxMs * 1000
    this.clear('expired', ({ queuedAt }) => queuedAt <= bound)
    this.#loseReplies((_, until) => until <= now)
  }

  /** The server remembers the session for so long: what waits for longer than half of it is given up. */
  outlive(now: number, sessionTtlMs: number): void {
    this.#ageMaxMs = Math.min(this.#config.outboxAgeMaxMs, Math.floor(sessionTtlMs / 2))
    this.expire(now)
  }

  /**
   * The server takes no larger ones from now on: it would close the link over their frames, and over each
   * that follows.
   */
  limit(bytesMax: number): void {
    this.clear('message_too_big', ({ bytes }) => bytes > bytesMax)
  }

  /**
   * The session's numbers are void: what was never written moves to the new one, numbered from 1;
   * the rest is reported, or moves too.
   */
  fresh(resend: boolean, reason: string): void {
    this.relink()
    for (const entry of this.entries) {
      const written = entry.seq !== undefined
      entry.seq = undefined
      entry.doubtful ||= written
      if (written && !resend) this.#drop(entry, 'unknown', reason)
    }
    this.entries = this.entries.filter((entry) => entry.item)
    this.next = 1
    this.#refusals = 0
  }

  /** What is dropped leaves a skip, until its place is free. */
  #drop(entry: Entry, fate: Fate, reason: string): void {
    const { key, item, bytes } = entry
    if (!item) return
    this.bytes -= bytes
    entry.bytes = 0
    entry.item = undefined
    this.#tell({ event: 'dropped', key, fate, reason })
  }

  /** The lowest unresolved seq. */
  first(): number {
    return this.entries[0]?.seq ?? this.next
  }

  /** When {@link expire} has something to do. */
  expiresAt(): number | undefined {
    const oldest = this.entries.find((entry) => entry.item)
    return Math.min(
      oldest ? oldest.queuedAt + this.#ageMaxMs * 1000 : Number.POSITIVE_INFINITY,
      ...[...this.#replies.values()].map(([, until]) => until),
    )
  }
}

/** Whether it was ever written. */
function wasWritten({ seq, doubtful }: Entry): boolean {
  return seq !== undefined || doubtful === true
}

function isSkip(entry: Entry | undefined): boolean {
  return entry !== undefined && entry.item === undefined
}
