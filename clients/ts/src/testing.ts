/**
 * `@bowline/client/testing`: virtual time and a scripted server, for tests of applications.
 *
 * Owns a small model of a server of `bowline.v1`: it welcomes, acknowledges and echoes publications
 * to subscribers; a test breaks its links and says what it refuses.
 */

import type { Environment, EnvironmentHint } from './index.ts'

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

  /** For option `environment` of a client. */
  environment(server: ScriptedServer): Partial<Environment> {
    return {
      WebSocket: server.WebSocket,
      now: () => this.#nowMs * 1000,
      wallMs: () => this.#nowMs,
      setTimeout: (call, ms) => {
        const timer = { at: this.#nowMs + ms, call }
        this.#timers.push(timer)
        return timer
      },
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
    if (this.readyState === 1) this.onmessage?.({ data })
  }

  /** Ends the link. */
  end(code = 1006, reason = '', wasClean = false): void {
    if (this.readyState === 3) return
    this.readyState = 3
    this.#server.links.delete(this)
    if (!wasClean) this.onerror?.(new Event('error'))
    this.onclose?.({ code, reason, wasClean })
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
  /** Nothing is answered, not even a close: a black hole. */
  silent = false
  /** Whether it selects the first protocol that is offered. */
  selects = true
  /** Gives the client a hint of the environment. */
  hint: (hint: EnvironmentHint) => void = () => {}
  /** Fields of `welcome` that differ. */
  welcome: Record<string, unknown> = {}
  /** Says which numbered message is refused, and why. */
  refusal: (message: Record<string, unknown>) => object | undefined = () => undefined
  /** For option `WebSocket`. */
  readonly WebSocket: typeof WebSocket
  readonly #acked = new Map<string, number>()
  readonly #heads = new Map<string, number>()

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
    const offset = (this.#heads.get(channel) ?? 0) + 1
    this.#heads.set(channel, offset)
    const message = { type: 'message', channel, position: at(offset), data }
    for (const link of this.links) if (follows(link, channel)) link.say(message)
  }

  /** What the server does with a message; a test may replace it. */
  answer(link: ScriptedLink, message: Record<string, unknown>): void {
    const { type, id, seq, data, ts } = message
    const channel = message.channel as string
    if (type === 'hello') link.say(this.#welcome(message))
    else if (type === 'ping') link.say({ type: 'pong', ts })
    else if (type === 'bye') link.end(1000, '', true)
    else if (type === 'subscribe') {
      link.say({ type: 'subscribed', id, channel, ...this.#recovery(channel, message.position) })
    } else if (type === 'unsubscribe') link.say({ type: 'unsubscribed', id, channel })
    else if (seq !== undefined) this.#number(link, message)
    else if (type === 'publish') {
      this.publish(channel, data)
      if (id !== undefined) link.say({ type: 'reply', id, data: {} })
    } else if (id !== undefined) link.say({ type: 'reply', id, data: null })
  }

  #welcome({ session = 'scripted', subscribe }: Record<string, unknown>): object {
    const channels = Object.entries((subscribe ?? {}) as Record<string, unknown>)
    const acked = this.#acked.get(session as string) ?? 0
    return {
      type: 'welcome',
      connection: String(this.dialled.length),
      session,
      resumed: acked > 0,
      acked,
      inflight_max: 64,
      session_ttl_ms: 86_400_000,
      ping_interval_ms: 30_000,
      pong_timeout_ms: 10_000,
      message_bytes_max: 65_536,
      max_reconnect_attempts: 10,
      subscriptions: Object.fromEntries(
        channels.map(([channel, from]) => [channel, this.#recovery(channel, from)]),
      ),
      ...this.welcome,
    }
  }

  #recovery(channel: string, from: unknown): object {
    const position = typeof from === 'string' ? from : at(this.#heads.get(channel) ?? 0)
    return { position, recovered: true, ...(from === null && { reason: 'new' }) }
  }

  #number(link: ScriptedLink, message: Record<string, unknown>): void {
    const { session } = link.received[0] as { session: string }
    const acked = this.#acked.get(session) ?? 0
    const seq = message.seq as number
    const error = seq === acked + 1 ? this.refusal(message) : undefined
    if (error) return link.say({ type: 'error', seq, ...error })
    if (seq > acked + 1) return
    this.#acked.set(session, Math.max(acked, seq))
    link.say({ type: 'acked', seq: Math.max(acked, seq) })
    if (seq > acked && message.type === 'publish') {
      this.publish(message.channel as string, message.data)
    }
  }
}

function at(offset: number): string {
  return `00000000000000aa.${offset}.00000001`
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
