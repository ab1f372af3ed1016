// The client in Node against a real server, through a proxy that breaks links.
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { connect, type ResilientOptions, type ResilientWebSocket } from '../../src/index.ts'
import { FaultProxy } from './lib/proxy.ts'
import { Server, until } from './lib/server.ts'

let server: Server
let proxy: FaultProxy
const clients: ResilientWebSocket[] = []

beforeAll(async () => {
  server = await Server.start({ WEBSOCKET_PING_INTERVAL: '1', WEBSOCKET_PONG_TIMEOUT: '1' })
  proxy = await FaultProxy.start(server.port)
})

afterEach(async () => {
  for (const client of clients.splice(0)) await client[Symbol.asyncDispose]()
  proxy.heal()
})

afterAll(async () => {
  await proxy?.stop()
  await server?.end()
})

function client(options: ResilientOptions = {}, path = proxy): ResilientWebSocket {
  const made = connect(path.url, {
    WebSocket,
    minReconnectionDelay: 20,
    maxReconnectionDelay: 200,
    connectionTimeout: 2000,
    ...options,
  })
  clients.push(made)
  return made
}

const once = (ws: ResilientWebSocket, type: 'open' | 'reconnected' | 'close') =>
  new Promise<Event>((resolve) => ws.addEventListener(type, resolve as never, { once: true }))

/** Collects what a channel brings, without end. */
function collect(ws: ResilientWebSocket, channel: string, from: null | 'first' = null): unknown[] {
  const seen: unknown[] = []
  const read = async () => {
    for await (const { data } of ws.subscribe(channel, { from })) seen.push(data)
  }
  void read()
  return seen
}

describe('a Bowline server', () => {
  test('publishes, subscribes and asks', async () => {
    const ws = client()
    const seen: unknown[] = []
    const subscription = ws.subscribe('talk', {
      listener: (delivery) => {
        if (delivery.type === 'message') seen.push(delivery.data)
      },
    })
    const events: unknown[] = []
    ws.onmessage = ({ data, channel, position }) => events.push([data, channel, typeof position])
    expect(ws.readyState).toBe(0)
    expect((await subscription.ready).recovered).toBe(true)
    expect(ws.readyState).toBe(1)
    await ws.publish('talk', { text: 'hi' }, { tag: 't' })
    await ws.publish('talk', new Uint8Array([1, 10, 255]))
    await until('both are back', () => seen.length === 2)
    expect(seen).toEqual([{ text: 'hi' }, new Uint8Array([1, 10, 255])])
    expect(events).toEqual(seen.map((data) => [data, 'talk', 'string']))
    const page = await ws.history('talk', { limit: 10 })
    expect(page.publications.map(({ data }) => data)[0]).toEqual({ text: 'hi' })
    await expect(ws.send('anybody?')).rejects.toMatchObject({ code: 'no_handler', fate: 'refused' })
    await expect(ws.send('now', { volatile: true })).rejects.toMatchObject({ code: 'no_handler' })
    await expect(ws.publish('talk', 'x'.repeat(70_000))).rejects.toMatchObject({
      code: 'message_too_big',
    })
    expect(ws.health.level).toBe('excellent')
    expect(ws.recommendation).toBeUndefined()
    await until('the skips are taken', () => ws.outboxLength === 0)
  })

  test.each([
    ['FIN', () => proxy.cut()],
    ['RST', () => proxy.cut(true)],
  ])('goes on after %s, nothing lost, doubled or reordered', async (name, strike) => {
    const ws = client()
    const channel = `cut-${name}`
    const seen = collect(ws, channel)
    await once(ws, 'open')
    const acks: Promise<void>[] = []
    for (let i = 0; i < 200; i++) {
      acks.push(ws.publish(channel, i))
      if (i % 40 === 20) {
        strike()
        await once(ws, 'reconnected')
      }
    }
    await Promise.all(acks)
    await until('all are back', () => seen.length >= 200)
    expect(seen).toEqual(Array.from({ length: 200 }, (_, i) => i))
    expect(ws.statistics.opens).toBeGreaterThan(4)
  })

  test('what is sent without a link is delivered later, in order', async () => {
    proxy.refuse = true
    const ws = client()
    const acks = [1, 2, 3].map((i) => ws.publish('later', i))
    await until('two dials failed', () => ws.health.errorRate > 0.2)
    expect(ws.readyState).toBe(0)
    expect(ws.recommendation).toMatchObject({ action: 'wait' })
    const seen = collect(ws, 'later', 'first')
    proxy.refuse = false
    await Promise.all(acks)
    await until('all are back', () => seen.length === 3)
    expect(seen).toEqual([1, 2, 3])
  })

  test('a black hole is noticed by silence', async () => {
    const ws = client()
    await once(ws, 'open')
    proxy.hole = true
    const silent = Date.now()
    await once(ws, 'close')
    // Long before a client that does not know this server's heartbeat (30 s and 10 s by default).
    expect(Date.now() - silent).toBeLessThan(10_000)
    expect(ws.statistics.classes).toEqual({ timeout: 1 })
  })

  test('a black hole is noticed by a hint much sooner than by silence', async () => {
    const settings = { WEBSOCKET_PING_INTERVAL: '30', WEBSOCKET_PONG_TIMEOUT: '10' }
    const patient = await Server.start(settings)
    const path = await FaultProxy.start(patient.port)
    try {
      let hint: (hint: 'wake') => void = () => {}
      const hints = (listener: typeof hint) => {
        hint = listener
        return () => {}
      }
      const ws = client({ environment: { hints } }, path)
      await once(ws, 'open')
      path.hole = true
      const hinted = Date.now()
      hint('wake')
      await once(ws, 'close')
      expect(Date.now() - hinted).toBeLessThan(2500)
      expect(ws.statistics.classes).toEqual({ timeout: 1 })
    } finally {
      await path.stop()
      await patient.end()
    }
  })

  test('a frozen server counts as dead, and comes back', async () => {
    const ws = client()
    await once(ws, 'open')
    server.signal('SIGSTOP')
    await once(ws, 'close')
    server.signal('SIGCONT')
    await once(ws, 'open')
    await ws.publish('frozen', 1)
  })

  test('a server that is killed and comes back loses nothing that was acknowledged', async () => {
    const ws = client()
    const seen = collect(ws, 'killed')
    await once(ws, 'open')
    await ws.publish('killed', 'before')
    await until('it is back', () => seen.length === 1)
    const states: string[] = []
    ws.on('lostconnection', ({ status }) => states.push(status))
    await server.down('SIGKILL')
    const later = ws.publish('killed', 'after')
    await server.up()
    await later
    await ws.publish('killed', 'last')
    await until('the last is back', () => seen.at(-1) === 'last')
    const acked = ['before', 'after', 'last']
    expect(seen).toEqual(acked)
    // What was seen before the kill is still there, too.
    const { publications } = await ws.history('killed')
    expect(publications.map(({ data }) => data)).toEqual(acked)
    expect(states).toEqual(['lost', 'restored'])
  })

  test('close ends at once, on a dead network too', async () => {
    const ws = client()
    await once(ws, 'open')
    proxy.hole = true
    const began = Date.now()
    const waiting = ws.publish('never', 1)
    ws.close(3001, 'enough')
    expect(ws.readyState).toBe(2)
    await expect(waiting).rejects.toMatchObject({ code: 'closed' })
    const event = (await once(ws, 'close')) as CloseEvent
    expect(Date.now() - began).toBeLessThan(2000)
    expect(event.code).toBe(1006)
    expect(ws.readyState).toBe(3)
    expect(() => ws.close(1001)).toThrow()
  })

  test('a reader that is behind waits on the server, and misses nothing', async () => {
    const ws = client()
    const subscription = ws.subscribe('slow', { readerMax: 10 })
    await subscription.ready
    for (let i = 0; i < 300; i += 50) {
      await Promise.all(Array.from({ length: 50 }, (_, j) => server.publish('slow', i + j)))
    }
    const seen = new Set<unknown>()
    for await (const { data } of subscription) {
      seen.add(data)
      if (seen.size === 300) break
    }
    expect(seen.size).toBe(300)
  })

  test('a refused subscription is thrown to its reader', async () => {
    const ws = client()
    const read = async () => {
      for await (const _ of ws.subscribe('bad\u0000name')) break
    }
    await expect(read()).rejects.toMatchObject({ code: 'bad_channel' })
  })

  test('a name that the server can not read costs only itself', async () => {
    const ws = client()
    const bad = ws.subscribe('\ud800')
    await ws.subscribe('good').ready
    await expect(bad.ready).rejects.toMatchObject({ code: 'bad_channel' })
  })

  test('history has bytes as bytes', async () => {
    const ws = client()
    await ws.publish('bytes', Uint8Array.of(0, 255), { tag: 'mine' })
    const { publications } = await ws.history('bytes')
    expect(publications).toMatchObject([{ data: Uint8Array.of(0, 255), tag: 'mine' }])
  })

  test('diagnostics hold no secrets', async () => {
    const ws = client({ getToken: () => 'a-secret-token' })
    await once(ws, 'open')
    await ws.publish('x', 'a-secret-payload')
    const text = JSON.stringify(ws.diagnostics())
    expect(text).not.toContain('secret')
    expect(text).not.toContain(ws.session)
    expect(text).toContain('"event":"acked"')
  })
})
