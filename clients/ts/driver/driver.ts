// The harness's driver for this client (crates/harness/DRIVERS.md): commands come on stdin, what
// the handlers of an application would see goes to stdout.
import { createInterface } from 'node:readline'
import { WebSocket } from 'ws'
import { connect, type Delivery, type From, type ResilientWebSocket } from '../src/index.ts'

type Json = Record<string, any>

const startedAt = process.hrtime.bigint()
let batch: string[] = []

function say(event: string, fields: Json = {}): void {
  const t_us = Number((process.hrtime.bigint() - startedAt) / 1000n)
  batch.push(JSON.stringify({ event, ...fields, t_us }))
  if (batch.length === 1) setImmediate(flush)
}

function flush(): void {
  const lines = batch
  batch = []
  if (lines.length) process.stdout.write(`${lines.join('\n')}\n`)
}

/** One client of the driver. */
class Player {
  readonly #name: string
  readonly #ws: ResilientWebSocket
  readonly #frozen = new Map<string, number>()
  #stopped = false

  constructor(name: string, command: Json) {
    this.#name = name
    const options: Json = command.options ?? {}
    this.say('started')
    const { token } = command
    this.#ws = connect(command.url, {
      WebSocket,
      minReconnectionDelay: options.backoff_min_ms,
      maxReconnectionDelay: options.backoff_max_ms,
      maxReconnectAttempts: options.attempts_max,
      connectionTimeout: options.connect_timeout_ms,
      resendStored: options.resend_stored ?? false,
      startClosed: true,
      asksWhy: false,
      environment: { hints: () => () => {} },
      ...(token !== undefined && { getToken: () => token }),
    })
    this.#listen()
    for (const [channel, from] of Object.entries(command.channels ?? {})) {
      this.subscribe(channel, from as From)
    }
    this.#ws.reconnect()
  }

  say(event: string, fields: Json = {}): void {
    if (!this.#stopped) say(event, { client: this.#name, ...fields })
  }

  subscribe(channel: string, from: From): void {
    void this.#read(channel, from)
  }

  unsubscribe(channel: string): void {
    this.#ws.unsubscribe(channel)
    this.say('unsubscribed', { channel })
  }

  publish({ channel, m, data }: Json): void {
    this.#follow(m, this.#ws.publish(channel, data))
  }

  send({ m, data, method }: Json): void {
    const sent = this.#ws.send(data, method === undefined ? {} : { method })
    this.#follow(m, sent)
    sent.reply.then(
      (reply) => this.say('reply', { m, data: reply }),
      () => {},
    )
  }

  freeze(channel: string | undefined, ms: number): void {
    this.#frozen.set(channel ?? '', Date.now() + ms)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#ws[Symbol.asyncDispose]()
    say('stopped', { client: this.#name })
  }

  #follow(m: string, sent: Promise<void>): void {
    sent.then(
      () => this.say('acked', { m }),
      ({ fate, code }) => this.say('dropped', { m, fate, reason: code }),
    )
  }

  #listen(): void {
    const ws = this.#ws
    ws.on('statechange', ({ current }) => this.say('state', { state: current }))
    ws.on('welcome', ({ resumed, reason, acked, connection }) => {
      this.say('welcome', { resumed, reason: reason ?? undefined, acked, connection })
    })
    ws.on('close', ({ code, reason }) => this.say('closed', { code, reason }))
    ws.on('error', ({ code }) => {
      if (code !== undefined) this.say('error', { code })
    })
  }

  /** Plays the application's handler of one channel. */
  async #read(channel: string, from: From): Promise<void> {
    for await (const delivery of this.#ws.subscribe(channel, { from }).deliveries()) {
      for (;;) {
        const until = Math.max(this.#frozen.get('') ?? 0, this.#frozen.get(channel) ?? 0)
        if (until <= Date.now()) break
        await new Promise((resolve) => setTimeout(resolve, until - Date.now()))
      }
      this.#tell(channel, delivery)
    }
  }

  #tell(channel: string, delivery: Delivery): void {
    switch (delivery.type) {
      case 'subscribed':
        return this.say('subscribed', { channel, ...delivery.recovery })
      case 'gap': {
        const { position, reason, missed } = delivery
        return this.say('gap', { channel, position, reason, missed })
      }
      case 'refused':
        return this.say('subscribe_error', { channel, code: delivery.error.code })
      case 'ended':
        return this.say('unsubscribed', { channel, code: delivery.code })
      case 'message': {
        const { m = '', pad } = (delivery.data ?? {}) as { m?: string; pad?: string }
        const pad_len = [...(pad ?? '')].length
        return this.say('delivered', { channel, position: delivery.position, m, pad_len })
      }
    }
  }
}

const players = new Map<string, Player>()

/** Does what a command says; false where it is not understood. */
function obey(command: Json): boolean {
  const name = command.client
  if (typeof name !== 'string') return false
  if (command.cmd === 'start') {
    players.set(name, new Player(name, command))
    return true
  }
  const player = players.get(name)
  if (!player) return false
  switch (command.cmd) {
    case 'publish':
      player.publish(command)
      break
    case 'send':
      player.send(command)
      break
    case 'subscribe':
      player.subscribe(command.channel, command.from)
      break
    case 'unsubscribe':
      player.unsubscribe(command.channel)
      break
    case 'freeze_reader':
      player.freeze(command.channel, command.ms)
      break
    case 'stop':
      players.delete(name)
      void player.stop()
      break
    default:
      return false
  }
  return true
}

async function quit(): Promise<void> {
  await Promise.all([...players.values()].map((player) => player.stop()))
  flush()
  process.stdout.write('', () => process.exit(0))
}

say('ready', { driver: 'typescript', version: '0.1.0', contract: 1 })
const lines = createInterface({ input: process.stdin })
lines.on('line', (line) => {
  let command: Json = {}
  try {
    command = JSON.parse(line)
  } catch {
    // Answered below.
  }
  if (command?.cmd === 'quit') lines.close()
  else if (!command || !obey(command)) say('error', { code: 'bad_command', message: line })
})
lines.on('close', () => void quit())
