/**
 * The readers of each channel: one subscription on the wire, however many readers.
 *
 * Owns who reads what. Must not know the wire.
 */

import type { Input } from '../machine/contract.ts'
import type { From, Position } from '../position/position.ts'
import { type Delivery, Subscription } from './subscription.ts'

/** What the readers' side asks of the client. */
export interface ChannelsHost {
  feed(input: Input): void
  subscribe(channel: string, from: From): void
  handled(channel: string, position: Position): void
}

/** All readers. */
export class Channels {
  readonly #host: ChannelsHost
  readonly #readers = new Map<string, Set<Subscription>>()
  /** The last answer to each subscription, for readers that join. */
  readonly #answers = new Map<string, Delivery>()

  constructor(host: ChannelsHost) {
    this.#host = host
  }

  /** Adds a reader; the first one of a channel subscribes. */
  open(
    channel: string,
    from: From,
    max: number,
    listener?: (delivery: Delivery) => void,
  ): Subscription {
    const readers = this.#readers.get(channel) ?? new Set()
    const reader = new Subscription(
      channel,
      max,
      {
        flow: (paused) => {
          // The slowest reader sets the pace of the channel.
          if (paused) this.#host.feed({ type: 'pause', channel })
          else if (![...readers].some((other) => other.paused)) {
            this.#host.feed({ type: 'resume', channel })
          }
        },
        handled: (position) => {
          if (position !== undefined) this.#host.handled(channel, position)
        },
        left: (left) => this.#left(channel, left),
      },
      listener,
    )
    readers.add(reader)
    this.#readers.set(channel, readers)
    if (readers.size === 1) this.#host.subscribe(channel, from)
    else reader.join(this.#answers.get(channel))
    return reader
  }

  /** A reader whose subscription has ended before it began. */
  none(channel: string): Subscription {
    const reader = new Subscription(channel, 1, { flow() {}, handled() {}, left() {} })
    reader.unsubscribe()
    return reader
  }

  /** Ends all readers of a channel. */
  close(channel: string): void {
    for (const reader of this.#readers.get(channel) ?? []) reader.unsubscribe()
  }

  /** Whether somebody reads the channel. */
  has(channel: string): boolean {
    return this.#readers.has(channel)
  }

  /** Hands an item to the readers of a channel. `final`: there is none after it. */
  push(channel: string, delivery: Delivery, final = false): void {
    const readers = this.#readers.get(channel)
    if (!readers) return
    if (delivery.type === 'subscribed') this.#answers.set(channel, delivery)
    for (const reader of readers) reader.push(delivery)
    if (!final) return
    this.#answers.delete(channel)
    // They end by themselves when they have read it; the channel is not theirs any more.
    this.#readers.delete(channel)
    for (const reader of readers) reader.finish()
  }

  /** Ends everything. */
  finish(): void {
    for (const channel of [...this.#readers.keys()]) {
      this.push(channel, { type: 'ended', code: 'closed' }, true)
    }
  }

  #left(channel: string, reader: Subscription): void {
    const readers = this.#readers.get(channel)
    if (!readers?.delete(reader) || readers.size) return
    this.#readers.delete(channel)
    this.#answers.delete(channel)
    this.#host.feed({ type: 'unsubscribe', channel })
  }
}
