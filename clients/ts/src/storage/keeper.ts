/**
 * Keeps a client's session, outbox and positions in a store.
 *
 * Owns the order: a number and its message are on disk before they are first written to a link.
 * Must not know what the store is made of.
 */

import type { ClientMessage } from '../codec/messages.ts'
import type { Environment } from '../environment/environment.ts'
import type { Client } from '../machine/client.ts'
import type { Event } from '../machine/contract.ts'
import type { Entry } from '../outbox/outbox.ts'
import { payloadBytes } from '../outbox/outbox.ts'
import type { Position } from '../position/position.ts'
import type { Store, StoredChange, StoredClient, StoredMessage } from './store.ts'

/** How long positions and acks may wait to be saved: their loss only repeats work. */
const LAZY_MS = 100
/** How long a store that failed is left alone, if nothing else is to be saved. */
const RETRY_MS = 5000
/** How long a store may take to load or to save: past it the client goes on without. */
const ANSWER_MS_MAX = 5000

/** Keeps one client. */
export class Keeper {
  readonly #store: Store
  readonly #client: Client
  readonly #environment: Environment
  /** The highest key that an earlier life has kept. No clock tells lives apart: it may be set back. */
  #keptMax = 0
  /** What is on disk of each message, by its key there: its seq, and whether it has an item. */
  readonly #saved = new Map<number, string>()
  #savedHead = ''
  readonly #positions = new Map<string, Position | undefined>()
  #moved = new Map<string, Position | undefined>()
  #deferred: (() => void)[] | undefined = []
  #writes: (() => void)[] = []
  #saving = false
  /** The store has not answered for so long that nothing waits for it. */
  #stuck = false
  #restoring = false
  #lazy: unknown
  #deadline: unknown
  /** Nothing is kept any more. */
  #over = false
  /** Settled when the store is free: let go of by the keeper before, then by this one. */
  #free: Promise<unknown>

  constructor(store: Store, client: Client, environment: Environment, before?: Keeper) {
    this.#free = before ? before.#free : Promise.resolve()
    this.#store = store
    this.#client = client
    this.#environment = environment
  }

  /** Loads what was kept into the client; then what was deferred happens. */
  restore(): void {
    if (this.#restoring) return
    this.#restoring = true
    this.#free = this.#free.then(() => this.#load()).catch(() => {})
    this.#deadline = this.#environment.setTimeout(() => {
      // What is loaded later is let go of.
      this.#over = true
      this.#catchUp()
    }, ANSWER_MS_MAX)
  }

  /** Calls when what was kept is loaded, in order. */
  defer(call: () => void): void {
    if (this.#deferred) this.#deferred.push(call)
    else call()
  }

  /** Where the application's handlers are in a channel. */
  position(channel: string): Position | undefined {
    return this.#positions.get(channel)
  }

  /** The application has handled everything up to here; without a position it has left the channel. */
  handled(channel: string, position: Position | undefined): void {
    if (this.#positions.get(channel) === position) return
    this.#positions.set(channel, position)
    this.#moved.set(channel, position)
    this.#later()
  }

  /** Writes a message to its link once everything that it relies on is on disk. */
  write(message: ClientMessage, write: () => void): void {
    if (this.#over || this.#stuck) return write()
    this.#writes.push(write)
    const relies = message.type === 'hello' || ('seq' in message && message.seq !== undefined)
    // The last word of a session: the link closes behind it, and what is on disk is forgotten.
    if (message.type === 'bye') this.#flush()
    else if (relies || this.#saving) void this.#save()
    else this.#flush()
  }

  /** An event may have changed what is to be kept. */
  record(event: Event): void {
    // What was told to be given up must not come back.
    if (event.event === 'dropped') void this.#save()
    else if ('key' in event || event.event === 'welcome') this.#later()
  }

  /** Saves what was queued although there is no link. */
  queued(): void {
    void this.#save()
  }

  /** The session has ended: nothing is left to be kept. */
  finish(): void {
    if (this.#over) return
    this.#over = true
    // Nothing is loaded, so there is nothing to forget; what was deferred finds a client that is closed.
    if (this.#deferred) return this.#catchUp()
    this.#flush()
    const forget = [...this.#saved.keys()]
    const head = { session: undefined, link: 0, next: 1 }
    const positions = Object.fromEntries(
      [...this.#positions.keys()].map((name) => [name, undefined]),
    )
    const saved = this.#put({ head, forget, positions })
    this.#free = saved.then(() => this.#store.release()).catch(() => {})
  }

  async #load(): Promise<void> {
    if (this.#over) return
    const load = async () => this.#store.load()
    const kept = await load().catch(() => undefined)
    // What is kept is the next one's.
    if (this.#over) return this.#store.release()
    try {
      if (kept) this.#take(kept)
    } finally {
      this.#catchUp()
    }
  }

  #take(kept: StoredClient): void {
    const { outbox } = this.#client
    this.#client.session = kept.session
    this.#client.link = kept.link
    // As they were queued: numbered ones were before the others.
    const unnumbered = Number.MAX_SAFE_INTEGER
    const messages = [...kept.messages].sort(
      (a, b) => (a.seq ?? unnumbered) - (b.seq ?? unnumbered) || a.key - b.key,
    )
    this.#keptMax = Math.max(0, ...messages.map(({ key }) => key))
    outbox.restore(
      kept.next,
      messages.map((message) => this.#entry(message)),
    )
    for (const entry of outbox.entries) this.#saved.set(this.#keyOf(entry), stamp(entry))
    for (const [channel, position] of Object.entries(kept.positions)) {
      this.#positions.set(channel, position)
    }
  }

  #catchUp(): void {
    this.#environment.clearTimeout(this.#deadline)
    const deferred = this.#deferred ?? []
    this.#deferred = undefined
    for (const call of deferred) call()
  }

  #later(ms = LAZY_MS): void {
    this.#lazy ??= this.#environment.setTimeout(() => {
      this.#lazy = undefined
      void this.#save()
    }, ms)
  }

  async #save(): Promise<void> {
    if (this.#saving || this.#over) return
    const change = this.#change()
    if (!change) return this.#flush()
    this.#saving = true
    const count = this.#writes.length
    const timer = this.#environment.setTimeout(() => {
      this.#stuck = true
      this.#flush()
    }, ANSWER_MS_MAX)
    // A store that fails must not stop the messages: they are only less safe.
    const saved = await this.#put(change)
    this.#environment.clearTimeout(timer)
    this.#saving = this.#stuck = false
    this.#flush(count)
    // What has come meanwhile.
    if (saved) void this.#save()
    else this.#failed(change)
  }

  /** Whether it is on disk; a store that throws is as one that rejects. */
  async #put(change: StoredChange): Promise<boolean> {
    try {
      await this.#store.save(change)
      return true
    } catch {
      return false
    }
  }

  /** Nobody knows what is on disk of a change: all of it is saved again. */
  #failed({ put = [], forget = [], positions = {} }: StoredChange): void {
    this.#savedHead = ''
    for (const key of [...put.map(({ key }) => key), ...forget]) this.#saved.set(key, '')
    this.#moved = new Map([...Object.entries(positions), ...this.#moved])
    this.#flush()
    this.#later(RETRY_MS)
  }

  /** Writes what is held, or the oldest of it. */
  #flush(count = this.#writes.length): void {
    for (const write of this.#writes.splice(0, count)) write()
  }

  /** What differs from what is on disk. */
  #change(): StoredChange | undefined {
    const { session, link, outbox } = this.#client
    const head = { session, link, next: outbox.next }
    const headText = JSON.stringify(head)
    const put: StoredMessage[] = []
    const gone = new Set(this.#saved.keys())
    for (const entry of outbox.entries) {
      const key = this.#keyOf(entry)
      gone.delete(key)
      if (this.#saved.get(key) === stamp(entry)) continue
      this.#saved.set(key, stamp(entry))
      const ageMs = (this.#environment.now() - entry.queuedAt) / 1000
      const { seq, item } = entry
      put.push({ key, seq, item, queuedAt: this.#environment.wallMs() - ageMs })
    }
    for (const key of gone) this.#saved.delete(key)
    const positions = Object.fromEntries(this.#moved)
    const moved = this.#moved.size > 0
    this.#moved = new Map()
    if (headText === this.#savedHead && !put.length && !gone.size && !moved) return undefined
    this.#savedHead = headText
    return { head, put, forget: [...gone], positions }
  }

  /** The key of a message on disk: above those of earlier lives, whose keys here are below 0. */
  #keyOf({ key }: Entry): number {
    return key > 0 ? this.#keptMax + key : -key
  }

  #entry({ key, seq, item, queuedAt }: StoredMessage): Entry {
    const ageMs = Math.max(0, this.#environment.wallMs() - queuedAt)
    const bytes = item ? payloadBytes(item.data) : 0
    const at = this.#environment.now() - ageMs * 1000
    return {
      key: -key,
      seq,
      item,
      bytes,
      queuedAt: at,
      replied: false,
      doubtful: seq !== undefined,
    }
  }
}

function stamp({ seq, item }: Entry): string {
  return `${seq} ${item !== undefined}`
}
