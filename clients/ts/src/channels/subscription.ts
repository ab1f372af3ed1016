/// <reference lib="esnext.disposable" preserve="true" />
/**
 * The stream of one channel for one reader.
 *
 * Owns the bounded queue between the client and the reader. Must not know why a subscription goes
 * on; it is told.
 */

import type { Gap, Publication, Recovery } from '../codec/messages.ts'
import { attempt } from '../events/target.ts'
import type { Position } from '../position/position.ts'
import { deferred, SocketError } from '../socket/events.ts'

/** What a reader of a channel sees, in order. */
export type Delivery =
  /** Where `recovery.recovered` is false, publications are missing before it. */
  | { type: 'subscribed'; recovery: Recovery }
  | ({ type: 'message' } & Publication)
  | ({ type: 'gap' } & Gap)
  /** The server refused; where `error.retry`, it is asked again, else this is the last item. */
  | { type: 'refused'; error: SocketError }
  /** The subscription has ended; the last item. */
  | { type: 'ended'; code?: string | undefined }

/** What a subscription needs of its client. */
export interface SubscriptionHost {
  /** The reader is behind, or has caught up. */
  flow(subscription: Subscription): void
  /** The reader has handled one item more. */
  handled(subscription: Subscription): void
  left(subscription: Subscription): void
}

/** A channel, to be read with `for await`. Leaving the loop unsubscribes. */
export class Subscription implements AsyncIterable<Publication>, AsyncDisposable {
  /** The channel. */
  readonly channel: string
  /** Settled with the first outcome of the subscription; rejected with `closed` where it ends first. */
  readonly ready: Promise<Recovery>
  /** How many of the channel's items are behind the reader. */
  done = 0
  /** Where the last one was that it handled. One at which a loop is left, or fails, counts. */
  position: Position | undefined
  readonly #outcome = deferred<Recovery>()
  readonly #host: SubscriptionHost
  readonly #max: number
  readonly #listener: ((delivery: Delivery) => void) | undefined
  readonly #signal: AbortSignal | undefined
  readonly #abort = () => this.unsubscribe()
  #queue: Delivery[] = []
  /** Wake the loops that wait for an item. */
  #wakes: (() => void)[] = []
  #over = false
  #paused = false

  constructor(
    channel: string,
    max: number,
    host: SubscriptionHost,
    listener?: (delivery: Delivery) => void,
    signal?: AbortSignal,
  ) {
    this.#listener = listener
    this.#signal = signal
    signal?.addEventListener('abort', this.#abort)
    this.channel = channel
    this.#max = max
    this.#host = host
    this.ready = this.#outcome.promise
  }

  /**
   * Publications, gaps and everything else that concerns the channel, in order. Loops at the same
   * time share them: each item goes to one.
   */
  async *deliveries(): AsyncGenerator<Delivery, void, undefined> {
    try {
      for (;;) {
        const delivery = this.#queue.shift()
        if (this.#queue.length === 0) this.#flow(false)
        if (delivery) {
          try {
            yield delivery
          } finally {
            this.#tell(delivery)
          }
        } else if (this.#over) return
        else {
          await new Promise<void>((resolve) => {
            this.#wakes.push(resolve)
          })
        }
      }
    } finally {
      this.unsubscribe()
    }
  }

  /** The publications. A refusal for good is thrown; gaps are told by the client's event `gap`. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Publication, void, undefined> {
    for await (const delivery of this.deliveries()) {
      if (delivery.type === 'message') {
        const { type, ...publication } = delivery
        yield publication
      } else if (delivery.type === 'refused' && !delivery.error.retry) throw delivery.error
    }
  }

  /** Ends the stream; what waits in it is given up. */
  unsubscribe(): void {
    this.#queue = []
    this.finish()
    this.#host.left(this)
    // Others may have waited for this one.
    this.#flow(false)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.unsubscribe()
  }

  /** The client hands an item over. */
  push(delivery: Delivery): void {
    if (this.#over) return
    this.join(delivery)
    if (delivery.type === 'refused' && !delivery.error.retry) this.#outcome.reject(delivery.error)
    const listener = this.#listener
    if (listener) {
      attempt(() => listener(delivery))
      return this.#tell(delivery)
    }
    this.#queue.push(delivery)
    if (!this.#rouse() && this.#queue.length >= this.#max) this.#flow(true)
  }

  /** Takes the answer to the subscription; it may have come before this reader. */
  join(answer: Delivery | undefined): void {
    if (answer?.type === 'subscribed') this.#outcome.resolve(answer.recovery)
  }

  /** Nothing follows what is queued. */
  finish(): void {
    this.#over = true
    this.#outcome.reject(new SocketError('closed'))
    this.#rouse()
    // A signal may live longer than many subscriptions. What is still to be read may be given up.
    if (!this.#queue.length) this.#signal?.removeEventListener('abort', this.#abort)
  }

  /** Whether the reader is behind. */
  get paused(): boolean {
    return this.#paused
  }

  #tell(delivery: Delivery): void {
    const { position } = (
      delivery.type === 'subscribed' ? delivery.recovery : delivery
    ) as Partial<Recovery>
    this.done++
    this.position = position ?? this.position
    this.#host.handled(this)
  }

  /** Whether a loop was waiting. */
  #rouse(): boolean {
    const wakes = this.#wakes
    this.#wakes = []
    for (const wake of wakes) wake()
    return wakes.length > 0
  }

  #flow(paused: boolean): void {
    if (this.#paused === paused) return
    this.#paused = paused
    this.#host.flow(this)
  }
}
