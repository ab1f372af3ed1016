/**
 * `@bowline/client/testing`: virtual time and a scripted server, for tests of applications.
 *
 * Owns a small model of a server of `bowline.v1`: it welcomes, acknowledges, pings, and keeps what is
 * published for subscribers, who may come back for it; a test breaks its links and says what it
 * refuses.
 */

import type { Environment, EnvironmentHint, HistoryPage, Position, Recovery } from './index.ts'
import { readPosition } from './position/position.ts'

/** A clock that a test moves. */
export class VirtualTime {
  #nowMs = 0
  #timers: { at: number; call: () => void }[] = []

  /** Milliseconds since the start. */
  get nowMs(): number {
    return this.#nowMs
  }

  /** Moves on, firing what is due in order; promises settle in between. */
  async advance(ms: number): Promise<void> {
    const end = this.#nowMs + ms
    await settle()
    for (;;) {
      const next = this.#timers.sort((a, b) => a.at - b.at)[0]
      if (!next || next.at > end) break
      this.#timers.shift()
      this.#nowMs = Math.max(this.#nowMs, next.at)
      next.call()
      await settle()
    }
    this.#nowMs = end
  }

  /** For option `environment` of a client of this server, which then pings by the same clock. */
  environment(server: ScriptedServer): Partial<Environment> {
    const setTimeout = (call: () => void, ms: number) => {
      const timer = { at: this.#nowMs + ms, call }
      this.#timers.push(timer)
      return timer
    }
    server.setTimeout = setTimeout
    return {
      WebSocket: server.WebSocket,
      now: () => this.#nowMs * 1000,
      wallMs: () => this.#nowMs,
      setTimeout,
      clearTimeout: (timer) => {
        this.#timers = this.#timers.filter((other) => other !== timer)
      },
      fetch: undefined,
      hints: (listener) => {
        server.hint = listener
        return () => {}
      },
    }
  }
}

async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve()
}

/** One link, seen by the server. */
export class ScriptedLink extends EventTarget {
  readyState = 0
  binaryType = 'blob'
  bufferedAmount = 0
  extensions = ''
  protocol = ''
  onopen: ((event: Event) => void) | null = null
  onmessage: ((event: { data: unknown }) => void) | null = null
  onclose: ((event: { code: number; reason: string; wasClean: boolean }) => void) | null = null
  onerror: ((event: Event) => void) | null = null
  /** What the client wrote, parsed. */
  readonly received: Record<string, unknown>[] = []
  readonly url: string
  readonly protocols: string[]
  readonly #server: ScriptedServer
  readonly #untold: (() => void)[] = []
  #telling = false

  constructor(server: ScriptedServer, url: string, protocols: string | string[] = []) {
    super()
    this.#server = server
    this.url = url
    this.protocols = [protocols].flat()
    void Promise.resolve().then(() => this.#dialled())
  }

  /** The client's `send`. */
  send(data: unknown): void {
    if (this.readyState !== 1) return
    const text = String(data)
    const message = text.startsWith('{') ? JSON.parse(text) : { raw: data }
    this.received.push(message)
    if (!this.#server.silent) this.#server.answer(this, message)
  }

  /** The client's `close`. */
  close(code = 1005, reason = ''): void {
    if (this.readyState > 1) return
    this.readyState = 2
    if (!this.#server.silent) void Promise.resolve().then(() => this.end(code, reason, true))
  }

  /** Says something to the client. */
  say(...messages: object[]): void {
    const data = messages.map((message) => JSON.stringify(message)).join('\n')
    this.#tell(() => {
      if (this.readyState === 1) this.onmessage?.({ data })
    })
  }

  /** Ends the link. */
  end(code = 1006, reason = '', wasClean = false): void {
    this.#tell(() => {
      if (this.readyState === 3) return
      this.readyState = 3
      this.#server.links.delete(this)
      if (!wasClean) this.onerror?.(new Event('error'))
      this.onclose?.({ code, reason, wasClean })
    })
  }

  /** As a network does, one after the other: the client may make the server say more meanwhile. */
  #tell(call: () => void): void {
    this.#untold.push(call)
    if (this.#telling) return
    this.#telling = true
    try {
      for (let next = this.#untold.shift(); next; next = this.#untold.shift()) next()
    } finally {
      this.#telling = false
    }
  }

  #dialled(): void {
    if (this.readyState > 0 || this.#server.silent) return
    if (this.#server.refuses) return this.end()
    this.readyState = 1
    this.protocol = (this.#server.selects && this.protocols[0]) || ''
    this.#server.links.add(this)
    this.onopen?.(new Event('open'))
  }
}

/** A server as a test wants it. */
export class ScriptedServer {
  /** Open links, oldest first. */
  readonly links = new Set<ScriptedLink>()
  /** Every link ever dialled. */
  readonly dialled: ScriptedLink[] = []
  /** Dials fail. */
  refuses = false
  /** Nothing is answered, not even a close, and nobody is pinged: a black hole. */
  silent = false
  /** Whether it selects the first protocol that is offered. */
  selects = true
  /** The most publications that a channel keeps. Who has missed more is told of a gap. */
  historyMax = 1000
  /** Gives the client a hint of the environment. */
  hint: (hint: EnvironmentHint) => void = () => {}
  /** What its pings wait by: `VirtualTime.environment` sets it, and without it there are none. */
  setTimeout: Environment['setTimeout'] = () => {}
  /** Fields of `welcome` that differ. */
  welcome: Record<string, unknown> = {}
  /** Says which numbered message is refused, and why; a `skip` is none. */
  refusal: (message: Record<string, unknown>) => object | undefined = () => undefined
  /** For option `WebSocket`. */
  readonly WebSocket: typeof WebSocket
  readonly #acked = new Map<string | undefined, number>()
  readonly #histories = new Map<string, History>()

  constructor() {
    const server = this
    this.WebSocket = class extends ScriptedLink {
      constructor(url: string, protocols?: string | string[]) {
        super(server, url, protocols)
        server.dialled.push(this)
      }
    } as never
  }

  /** The newest open link. */
  get link(): ScriptedLink | undefined {
    return [...this.links].at(-1)
  }

  /** Publishes to a channel. */
  publish(channel: string, data: unknown): void {
    const publication = this.#history(channel).add(data, this.historyMax)
    const message = { type: 'message', channel, ...publication }
    for (const link of this.links) if (follows(link, channel)) link.say(message)
  }

  /** What the server does with a message; a test may replace it. */
  answer(link: ScriptedLink, message: Record<string, unknown>): void {
    const { type, id, seq, data, ts } = message
    const channel = message.channel as string
    if (type === 'hello') this.#welcome(link, message)
    else if (type === 'ping') link.say({ type: 'pong', ts })
    else if (type === 'bye') {
      this.#acked.delete(sessionOf(link))
      link.end(1000, '', true)
    } else if (type === 'subscribe') this.#subscribe(link, message)
    else if (type === 'unsubscribe') link.say({ type: 'unsubscribed', id, channel })
    else if (type === 'history') this.#page(link, message)
    else if (type === 'presence') link.say({ type: 'reply', id, data: this.#presence(channel) })
    else if (seq !== undefined) this.#number(link, message)
    else if (type === 'publish') {
      this.publish(channel, data)
      if (id !== undefined) link.say({ type: 'reply', id, data: {} })
    } else if (id !== undefined) link.say({ type: 'reply', id, data: null })
  }

  #welcome(link: ScriptedLink, { subscribe }: Record<string, unknown>): void {
    const session = sessionOf(link)
    const acked = this.#acked.get(session) ?? 0
    const takesOver = [...this.links].some(
      (other) => other !== link && sessionOf(other) === session,
    )
    const asked = Object.entries((subscribe ?? {}) as Record<string, unknown>)
    const answers = asked.map(([channel, from]): [string, Partial<Answer>] => {
      return [channel, this.#history(channel).recover(from) ?? { error: BAD_POSITION }]
    })
    const welcome = {
      type: 'welcome',
      connection: String(this.dialled.length),
      session,
      resumed: acked > 0 || takesOver,
      acked,
      inflight_max: 64,
      session_ttl_ms: 86_400_000,
      ping_interval_ms: 30_000,
      pong_timeout_ms: 10_000,
      message_bytes_max: 65_536,
      max_reconnect_attempts: 10,
      subscriptions: Object.fromEntries(answers),
      ...this.welcome,
    }
    const missed = Object.entries(welcome.subscriptions).flatMap(([channel, { position }]) =>
      this.#missed(channel, position),
    )
    link.say(welcome, ...missed)
    this.#ping(link, welcome.ping_interval_ms)
  }

  #subscribe(link: ScriptedLink, { id, channel, position }: Record<string, unknown>): void {
    const recovery = this.#history(channel as string).recover(position)
    if (!recovery) return link.say({ type: 'error', id, ...BAD_POSITION })
    const missed = this.#missed(channel as string, recovery.position)
    link.say({ type: 'subscribed', id, channel, ...recovery }, ...missed)
  }

  /** What follows the answer to a subscription. */
  #missed(channel: string, position: Position | undefined): object[] {
    const publications = this.#history(channel).after(position)
    return publications.map((publication) => ({ type: 'message', channel, ...publication }))
  }

  #page(link: ScriptedLink, { id, channel, after, limit }: Record<string, unknown>): void {
    const history = this.#history(channel as string)
    const max = (limit ?? PAGE_DEFAULT) as number
    const recovery = history.recover(after ?? { last: max })
    if (!recovery) return link.say({ type: 'error', id, ...BAD_POSITION })
    const publications = history.after(recovery.position).slice(0, max)
    const position = publications.at(-1)?.position ?? recovery.position
    const more = position !== at(history.head)
    const data = { channel: channel as string, publications, ...recovery, position, more }
    link.say({ type: 'reply', id, data: data satisfies HistoryPage })
  }

  /** Nobody has a name, unless `welcome` gives it to all. */
  #presence(channel: string): object {
    const open = [...this.links].filter(({ readyState }) => readyState === 1)
    const count = open.filter((link) => follows(link, channel)).length
    const users = count && typeof this.welcome.user === 'string' ? [this.welcome.user] : []
    return { channel, users, user_count: users.length, connection_count: count }
  }

  #number(link: ScriptedLink, message: Record<string, unknown>): void {
    const session = sessionOf(link)
    const acked = this.#acked.get(session) ?? 0
    const seq = message.seq as number
    // A `skip` is no message, and takes every number up to its own.
    if (message.type !== 'skip') {
      if (seq > acked + 1) return
      const error = seq > acked ? this.refusal(message) : undefined
      if (error) return link.say({ type: 'error', seq, ...error })
    }
    this.#acked.set(session, Math.max(acked, seq))
    link.say({ type: 'acked', seq: Math.max(acked, seq) })
    if (seq > acked && message.type === 'publish') {
      this.publish(message.channel as string, message.data)
    }
  }

  /** Pings for as long as the link lasts, whether or not it is idle. */
  #ping(link: ScriptedLink, intervalMs: number): void {
    if (!(intervalMs > 0)) return
    this.setTimeout(() => {
      if (link.readyState !== 1) return
      if (!this.silent) link.say({ type: 'ping' })
      this.#ping(link, intervalMs)
    }, intervalMs)
  }

  #history(channel: string): History {
    const history = this.#histories.get(channel) ?? new History()
    this.#histories.set(channel, history)
    return history
  }
}

/** The answer to a subscription: every channel has a history. */
type Answer = Recovery & { position: Position; error?: object }

/** What a channel keeps. */
class History {
  /** The offset of the newest publication. */
  head = 0
  readonly #kept: { position: Position; data: unknown }[] = []

  /** Adds a publication, as it is now, and answers it. */
  add(data: unknown, max: number): object {
    const publication = {
      position: at(++this.head),
      data: JSON.parse(JSON.stringify(data ?? null)),
    }
    this.#kept.push(publication)
    this.#kept.splice(0, this.#kept.length - max)
    return publication
  }

  /** The answer to a *from* value (PROTOCOL.md, "Recovery"); nothing where it is none. */
  recover(from: unknown): Answer | undefined {
    const asked = readPosition(from)
    if (!asked) {
      const last = newest(from)
      if (last === undefined) return undefined
      const position = at(Math.max(this.head - last, this.#before))
      return { position, recovered: true, reason: 'new' }
    }
    const lost = (reason: 'expired' | 'rewound' | 'unknown_epoch', offset: number) => {
      return { position: at(offset), recovered: false, reason }
    }
    if (asked.epoch !== EPOCH) return lost('unknown_epoch', this.#before)
    if (from !== at(asked.offset) || asked.offset > this.head) return lost('rewound', this.head)
    if (asked.offset < this.#before) return lost('expired', this.#before)
    return { position: at(asked.offset), recovered: true }
  }

  /** The publications behind a position; none without one. */
  after(position: Position | undefined): { position: Position; data: unknown }[] {
    const offset = readPosition(position)?.offset ?? this.head
    return this.#kept.slice(Math.max(offset - this.#before, 0))
  }

  /** The offset before the oldest publication that is kept. */
  get #before(): number {
    return this.head - this.#kept.length
  }
}

const EPOCH = '00000000000000aa'

/** Publications in a page of history where nobody says how many (PROTOCOL.md, "history"). */
const PAGE_DEFAULT = 100

const BAD_POSITION = {
  code: 'bad_position',
  message: 'The position is not one that this server gave.',
  retry: false,
}

function at(offset: number): Position {
  return `${EPOCH}.${offset}.00000001`
}

/** How many of the newest publications a *from* value wants that is no position. */
function newest(from: unknown): number | undefined {
  if (from === 'first') return Number.POSITIVE_INFINITY
  const last = from == null ? 0 : (from as { last?: unknown }).last
  return Number.isSafeInteger(last) && (last as number) >= 0 ? (last as number) : undefined
}

/** The session of a link that has said hello. */
function sessionOf({ received }: ScriptedLink): string | undefined {
  const hello = received.find(({ type }) => type === 'hello')
  return hello && ((hello.session ?? 'scripted') as string)
}

function follows(link: ScriptedLink, channel: string): boolean {
  let following = false
  for (const { type, channel: named, subscribe } of link.received) {
    if (type === 'hello' && subscribe && Object.hasOwn(subscribe, channel)) following = true
    if (named === channel && type === 'subscribe') following = true
    if (named === channel && type === 'unsubscribe') following = false
  }
  return following
}
