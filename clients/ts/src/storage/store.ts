/**
 * What a store keeps of a client, so that a reload loses nothing.
 *
 * Owns the interface. `./idb` has one for browsers.
 */

import type { Item } from '../outbox/outbox.ts'
import type { Position } from '../position/position.ts'

/** A message as it is kept. */
export interface StoredMessage {
  key: number
  /** None: never written to a link. */
  seq: number | undefined
  /** None: given up, its number may still have to be skipped. */
  item: Item | undefined
  /** Milliseconds since 1970. */
  queuedAt: number
}

/** Everything that is kept of a client. */
export interface StoredClient {
  session: string | undefined
  /** The highest link number used. */
  link: number
  /** The next unused seq. */
  next: number
  messages: StoredMessage[]
  /** By channel: behind what the application has handled. `undefined`: as if there were none. */
  positions: Record<string, Position | undefined>
}

/** Where a client is kept. */
export interface Store {
  /**
   * Takes the session; nothing where there is none, or another tab holds it. What comes after 5 s is let
   * go of by `release`.
   */
  load(): Promise<StoredClient | undefined>
  /**
   * Writes durably, all or nothing: the head, messages to put, keys of messages to forget, and
   * positions. Resolves when it is on disk; after 5 s nothing waits for that.
   */
  save(change: StoredChange): Promise<void>
  /** Lets the session go; when it resolves, it can be loaded again. */
  release(): void | Promise<void>
}

/** A change of what is kept. */
export interface StoredChange {
  head?: { session: string | undefined; link: number; next: number }
  put?: StoredMessage[]
  forget?: number[]
  /** By channel; `undefined`: to be forgotten. */
  positions?: Record<string, Position | undefined>
}
