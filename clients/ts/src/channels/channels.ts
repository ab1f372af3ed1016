/**
 * The readers of each channel: one subscription on the wire, however many readers.
 *
 * Owns who reads what. Must not know the wire.
 */

import type { Input } from '../machine/contract.ts'
import type { From, Position } from '../position/position.ts'
import { type Delivery, Subscription, type SubscriptionHost } from './subscription.ts'

/** What the readers' side asks of the client. */
export interface ChannelsHost {
  feed(input: Input): void
  /** Asks for the channel, and calls `begin` just before. */
  subscribe(channel: string, from: From, begin: () => void): void
  /** Everything up to here is handled; without a position nobody reads the channel any more. */
  handled(channel: string, position: Position | undefined): void
}

/** A channel that is read. */
interface Channel {
  readers: Set<Subscription>
  /** The last answer to its subscription, for readers that join. */
  answer: Delivery | undefined
  /** How many items it has had. */
  items: number
  /** Whether it is asked for: what comes before is of an earlier subscription to the channel. */
  begun: boolean
}

/** All readers. */
export class Channels implements SubscriptionHost {
  readonly #host: ChannelsHost
  readonly #all = new Map<string, Channel>()

  constructor(host: ChannelsHost) {
    this.#host = host
  }

  /** Adds a reader; the first one of a channel subscribes. */
  open(
    name: string,
    from: From,
    max: number,
    listener?: (delivery: Delivery) => void,
    signal?: AbortSignal,
  ): Subscription {
    const reader = new Subscription(name, max, this, listener, signal)
    const channel = this.#all.get(name)
    if (channel) {
      channel.readers.add(reader)
      reader.done = channel.items
      reader.join(channel.answer)
    } else {
      const fresh = { readers: new Set([reader]), answer: undefined, items: 0, begun: false }
      this.#all.set(name, fresh)
      this.#host.subscribe(name, from, () => {
        fresh.begun = true
      })
    }
    return reader
  }

  /** A reader whose subscription has ended before it began. */
  none(name: string): Subscription {
    const reader = new Subscription(name, 1, this)
    reader.unsubscribe()
    return reader
  }

  /** Ends all readers of a channel. */
  close(name: string): void {
    for (const reader of this.#all.get(name)?.readers ?? []) reader.unsubscribe()
  }

  /** Whether somebody reads the channel. */
  has(name: string): boolean {
    return this.#all.has(name)
  }

  /** Hands an item to the readers of a channel. `final`: there is none after it. */
  push(name: string, delivery: Delivery, final = false): void {
    const channel = this.#all.get(name)
    if (!channel?.begun) return
    if (delivery.type === 'subscribed') channel.answer = delivery
    channel.items++
    // They end by themselves when they have read it; the channel is not theirs any more.
    if (final) this.#all.delete(name)
    // Who joins meanwhile joins behind this item.
    for (const reader of [...channel.readers]) {
      reader.push(delivery)
      if (final) reader.finish()
    }
  }

  /** Ends everything. */
  finish(): void {
    for (const [name, channel] of this.#all) {
      channel.begun = true
      this.push(name, { type: 'ended', code: 'closed' }, true)
    }
  }

  /** The slowest reader sets the pace of its channel. */
  flow({ channel, paused }: Subscription): void {
    if (paused) this.#host.feed({ type: 'pause', channel })
    else if (![...(this.#all.get(channel)?.readers ?? [])].some((other) => other.paused)) {
      this.#host.feed({ type: 'resume', channel })
    }
  }

  /** A channel is handled as far as its slowest reader has come. */
  handled({ channel }: Subscription): void {
    let slowest: Subscription | undefined
    for (const reader of this.#all.get(channel)?.readers ?? []) {
      if (!slowest || reader.done < slowest.done) slowest = reader
    }
    if (slowest?.position) this.#host.handled(channel, slowest.position)
  }

  left(reader: Subscription): void {
    const { channel } = reader
    const { readers, answer } = this.#all.get(channel) ?? {}
    if (!readers?.delete(reader)) return
    if (readers.size) return this.handled(reader)
    this.#all.delete(channel)
    this.#host.feed({ type: 'unsubscribe', channel })
    // One that never began leaves what an earlier life had read.
    if (answer) this.#host.handled(channel, undefined)
  }
}
