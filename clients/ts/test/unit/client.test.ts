// The client on a scripted server in virtual time: one behaviour after the other.
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import {
  connect,
  type ResilientOptions,
  type ResilientWebSocket,
  SocketError,
} from '../../src/index.ts'
import { ResilientWebSocket as PlainWebSocket } from '../../src/plain.ts'
import { russian } from '../../src/ru.ts'
import type { SocketOptions } from '../../src/socket/options.ts'
import type { Store, StoredChange, StoredClient } from '../../src/storage/store.ts'
import { ScriptedServer, VirtualTime } from '../../src/testing.ts'

let time: VirtualTime
let server: ScriptedServer

beforeEach(() => {
  time = new VirtualTime()
  server = new ScriptedServer()
})

afterEach(() => vi.restoreAllMocks())

const URL_ = 'ws://test/ws'

function bowline(options: ResilientOptions = {}): ResilientWebSocket {
  return connect(URL_, {
    seed: 1,
    ...options,
    environment: { ...time.environment(server), ...options.environment },
  })
}

function plain(options: SocketOptions = {}, url = URL_): PlainWebSocket {
  return new PlainWebSocket(url, [], {
    seed: 1,
    ...options,
    environment: { ...time.environment(server), ...options.environment },
  })
}

function logOf(ws: PlainWebSocket | ResilientWebSocket): string[] {
  const log: string[] = []
  for (const type of ['open', 'close', 'error', 'reconnected', 'lostconnection'] as const) {
    ws.addEventListener(type, (event) =>
      log.push([event.type, 'status' in event ? event.status : ''].join(' ').trim()),
    )
  }
  ws.on('statechange', ({ current }) => log.push(`→${current}`))
  return log
}

/** Takes each promise's end. */
function ends(promises: Promise<unknown>[]): unknown[] {
  const found: unknown[] = promises.map(() => undefined)
  for (const [index, promise] of promises.entries()) {
    promise.then(
      (value) => {
        found[index] = value ?? 'done'
      },
      (error) => {
        found[index] = error
      },
    )
  }
  return found
}

describe('the face', () => {
  test('is assignable to WebSocket', () => {
    const ws: WebSocket = plain({ startClosed: true })
    expect(ws.readyState).toBe(3)
    expect([ws.url, ws.protocol, ws.extensions, ws.bufferedAmount]).toEqual([URL_, '', '', 0])
    expect([PlainWebSocket.OPEN, ws.OPEN]).toEqual([1, 1])
  })

  test('goes through its states, and tells of a lost link once', async () => {
    const ws = plain()
    const log = logOf(ws)
    await time.advance(1)
    server.link?.end()
    await time.advance(2000)
    ws.close(3000, 'enough')
    expect(ws.readyState).toBe(2)
    await time.advance(10)
    expect(log).toEqual([
      '→open',
      'open',
      'error',
      'close',
      '→waiting',
      'lostconnection lost',
      '→connecting',
      '→open',
      'open',
      'reconnected',
      'lostconnection restored',
      '→closed',
      'close',
    ])
    expect(ws.readyState).toBe(3)
    expect(ws.statistics).toMatchObject({ opens: 2, classes: { network: 1 } })
    expect(ws.statistics.reconnectMs).toHaveLength(1)
    expect(ws.statistics.uptime).toBeGreaterThan(0.3)
  })

  test('what is sent early waits, within its bound', async () => {
    const ws = plain({ maxEnqueuedMessages: 2 })
    const found = ends([ws.send('one'), ws.send('two'), ws.send('three')])
    expect(ws.bufferedAmount).toBe(6)
    await time.advance(1)
    expect(found).toEqual([
      'done',
      'done',
      expect.objectContaining({ code: 'outbox_full', fate: 'refused' }),
    ])
    expect(server.link?.received).toEqual([{ raw: 'one' }, { raw: 'two' }])
    ws.send('now')
    expect(server.link?.received).toHaveLength(3)
    ws.close()
    await time.advance(10)
    expect(ends([ws.send('late')])).toEqual([undefined])
  })

  test('messages come as events with data and origin', async () => {
    const ws = plain()
    const seen: unknown[] = []
    ws.onmessage = ({ data, origin }) => seen.push([data, origin])
    await time.advance(1)
    server.link?.onmessage?.({ data: 'hello' })
    expect(seen).toEqual([['hello', 'ws://test']])
    const undo = ws.on('open', () => seen.push('open'))
    undo()
    ws.onmessage = null
    expect(ws.onmessage).toBeNull()
    server.link?.onmessage?.({ data: 'unheard' })
    expect(seen).toHaveLength(1)
  })

  test('bad codes, reasons and URLs are refused as by a WebSocket', () => {
    const ws = plain({ startClosed: true })
    expect(() => ws.close(1001)).toThrow(expect.objectContaining({ name: 'InvalidAccessError' }))
    expect(() => ws.close(1000, 'ü'.repeat(62))).toThrow(
      expect.objectContaining({ name: 'SyntaxError' }),
    )
    expect(() => plain({}, 'nonsense')).toThrow(expect.objectContaining({ name: 'SyntaxError' }))
    expect(() => plain({}, 'ftp://x/')).toThrow(expect.objectContaining({ name: 'SyntaxError' }))
  })

  test('a signal and asyncDispose close it', async () => {
    const abort = new AbortController()
    const ws = plain({ signal: abort.signal })
    await time.advance(1)
    abort.abort()
    await time.advance(10)
    expect(ws.readyState).toBe(3)
    expect(plain({ signal: AbortSignal.abort() }).readyState).not.toBe(1)
    const other = plain()
    await time.advance(1)
    const disposed = ends([other[Symbol.asyncDispose]()])
    await time.advance(10)
    expect(disposed).toEqual(['done'])
    await other[Symbol.asyncDispose]()
  })

  test('a URL source is asked for each dial; its failure is tried again', async () => {
    let calls = 0
    const source = async () => {
      if (++calls === 1) throw new Error('not yet')
      return `ws://test/${calls}`
    }
    const ws = new PlainWebSocket(source, [], { seed: 1, environment: time.environment(server) })
    await time.advance(3000)
    expect([ws.url, ws.state]).toEqual(['ws://test/2', 'open'])
  })

  test('close ends within a second although nobody answers', async () => {
    const ws = plain()
    await time.advance(1)
    server.silent = true
    const log = logOf(ws)
    ws.close()
    await time.advance(999)
    expect(log).toEqual(['→closed'])
    await time.advance(10)
    expect(log).toEqual(['→closed', 'close'])
  })

  test('maxRetries 0 never reconnects; reconnect() and retryNow() do', async () => {
    const ws = plain({ maxRetries: 0 })
    await time.advance(1)
    server.link?.end()
    await time.advance(300_000)
    expect([ws.state, ws.readyState, server.dialled.length]).toEqual(['blocked', 3, 1])
    ws.retryNow()
    await time.advance(1)
    expect(ws.state).toBe('open')
    ws.reconnect()
    await time.advance(1)
    expect([ws.state, server.dialled.length]).toEqual(['open', 3])
  })
})

describe('recovery', () => {
  test('attempts used up: dormant, a dial a minute, and back by itself', async () => {
    server.refuses = true
    const ws = plain({ maxReconnectAttempts: 3 })
    await time.advance(60_000)
    expect(ws.state).toBe('dormant')
    expect(ws.recommendation).toMatchObject({ title: 'Still not connected', action: 'retry' })
    expect(ws.recommendation?.retryAt).toBeGreaterThan(time.nowMs)
    const before = server.dialled.length
    await time.advance(600_000)
    expect(server.dialled.length - before).toBeGreaterThanOrEqual(4)
    expect(server.dialled.length - before).toBeLessThanOrEqual(10)
    server.refuses = false
    await time.advance(121_000)
    expect(ws.state).toBe('open')
    expect(ws.recommendation).toBeUndefined()
  })

  test('offline waits for the network, a hint dials soon', async () => {
    const ws = plain()
    await time.advance(1)
    server.refuses = true
    server.link?.end()
    server.hint('offline')
    await time.advance(100_000)
    expect([ws.state, server.dialled.length]).toEqual(['offline', 1])
    expect(ws.recommendation?.title).toBe('You are offline')
    server.refuses = false
    server.hint('online')
    await time.advance(1000)
    expect(ws.state).toBe('open')
  })

  test('hidden pages do not dial, unless asked to', async () => {
    for (const dialHidden of [false, true]) {
      server = new ScriptedServer()
      plain({ dialHidden })
      await time.advance(1)
      server.hint('hidden')
      server.link?.end()
      await time.advance(20_000)
      expect(server.dialled.length).toBe(dialHidden ? 2 : 1)
    }
  })

  test('back from a cache it dials at once', async () => {
    const ws = plain()
    await time.advance(1)
    server.hint('thawed')
    await time.advance(1)
    expect([ws.state, server.dialled.length]).toEqual(['open', 2])
  })

  test('a page that goes into a cache lets its link go, and nothing is lost', async () => {
    const ws = bowline()
    const log = logOf(ws)
    await time.advance(1)
    server.hint('frozen')
    const [sent] = ends([ws.publish('a', 1)])
    await time.advance(5)
    expect([server.links.size, sent]).toEqual([0, undefined])
    log.length = 0
    const later = ends([ws.publish('a', 2)])
    server.hint('thawed')
    await time.advance(1)
    expect([ws.outboxLength, later, server.dialled.length]).toEqual([0, ['done'], 2])
    expect(log.filter((line) => !line.startsWith('→'))).toEqual([
      'error',
      'close',
      'lostconnection lost',
      'open',
      'reconnected',
      'lostconnection restored',
    ])
  })

  test('an application may decide otherwise', async () => {
    const strategy = vi.fn(() => 'block' as const)
    const ws = plain({ strategy })
    await time.advance(1)
    server.link?.end(1011, '', true)
    await time.advance(1)
    expect(ws.state).toBe('blocked')
    expect(strategy).toHaveBeenCalledWith({ class: 'server', confidence: 'likely' }, 'backoff')
    expect(ws.recommendation?.action).toBe('retry')
  })

  test('a heartbeat finds a dead link, and any byte is a sign of life', async () => {
    const ws = plain({ heartbeat: { message: () => 'ping', intervalMs: 1000, timeoutMs: 500 } })
    const log = logOf(ws)
    await time.advance(1100)
    expect([ws.state, server.link?.received]).toEqual(['probing', [{ raw: 'ping' }]])
    server.link?.onmessage?.({ data: 'anything' })
    expect(ws.state).toBe('open')
    // The link that answered is the one that was open: nothing is told but the states.
    expect(log).toEqual(['→open', 'open', '→probing', '→open'])
    server.silent = true
    await time.advance(2200)
    expect(ws.statistics.classes).toEqual({ timeout: 1 })
  })

  test('why an upgrade failed is asked from the second time on', async () => {
    server.refuses = true
    const answers: (Response | Error)[] = [
      new Response('{"code":"too_many_connections","retry_after_ms":5000}', { status: 429 }),
      new Response('', { status: 503, headers: { 'Retry-After': '7' } }),
      new Response('{"code":"ok"}'),
      new Response('', { status: 426 }),
      new Error('nobody'),
    ]
    const asked: unknown[] = []
    const fetch = vi.fn(async (url: unknown, init?: RequestInit) => {
      asked.push([url, init?.mode])
      const answer = init?.mode === 'no-cors' ? new Error('nobody') : answers.shift()
      if (answer instanceof Response) return answer
      throw answer
    })
    const ws = plain({ environment: { fetch: fetch as never } }, 'wss://test/ws?a=b')
    const evidence: unknown[] = []
    ws.on('error', (event) => evidence.push(event.evidence))
    await time.advance(120_000)
    expect(evidence.slice(0, 6)).toEqual([
      { kind: 'opaque' },
      { kind: 'http', status: 429, code: 'too_many_connections', retry_after_ms: 5000 },
      { kind: 'http', status: 503, retry_after_ms: 7000 },
      { kind: 'not_websocket' },
      { kind: 'opaque' },
      { kind: 'unreachable' },
    ])
    expect(asked[0]).toEqual(['https://test/ws?a=b', 'cors'])
  })

  test('a hint that comes during the question hastens the dial after it', async () => {
    server.refuses = true
    let answer = () => {}
    const fetch = () =>
      new Promise((_, reject) => {
        answer = () => reject(new Error('nobody'))
      })
    const ws = plain({
      environment: { fetch: fetch as never },
      minReconnectionDelay: 20_000,
      seed: 3,
    })
    await time.advance(1)
    server.hint('wake')
    await time.advance(101)
    expect([ws.state, server.dialled.length]).toEqual(['connecting', 2])
    server.hint('wake')
    // Neither `cors` nor `no-cors` finds anybody.
    for (const _ of 'ab') {
      answer()
      await time.advance(0)
    }
    expect([ws.state, server.dialled.length]).toEqual(['waiting', 2])
    await time.advance(101)
    expect(server.dialled).toHaveLength(3)
  })

  test('a question that nobody answers is given up', async () => {
    server.refuses = true
    const modes: unknown[] = []
    const fetch = (_: unknown, init: RequestInit) =>
      new Promise((_, reject) => {
        modes.push(init.mode)
        if (init.signal?.aborted) reject(init.signal.reason)
        init.signal?.addEventListener('abort', () => reject(init.signal?.reason))
      })
    const ws = plain({ environment: { fetch: fetch as never } })
    // The first failure waits for less than a second, the question for four.
    await time.advance(3900)
    expect([ws.state, modes]).toEqual(['connecting', ['cors']])
    await time.advance(1200)
    expect(modes.slice(0, 2)).toEqual(['cors', 'no-cors'])
    expect(ws.statistics.classes).toEqual({ network: 2 })
  })

  test('a timer that is late lets messages through before it judges', async () => {
    let behind = 0
    const base = time.environment(server)
    const ws = bowline({ environment: { now: () => base.now!() + behind } })
    await time.advance(1)
    behind = 45_000_000
    const { link } = server
    await time.advance(40_000 - 1)
    // The page was stalled: the timer is overdue, and so are the messages behind it.
    link?.say({ type: 'ping', ts: 1 })
    await time.advance(1000)
    expect([ws.state, server.dialled.length]).toEqual(['open', 1])
  })

  test('a timer that is late judges soon, however busy the application is', async () => {
    let behind = 0
    const base = time.environment(server)
    const ws = bowline({ environment: { now: () => base.now!() + behind } })
    await time.advance(1)
    server.silent = true
    behind = 45_000_000
    // The stall ends, nothing came, and the application goes on publishing.
    for (let ms = 0; ms < 500; ms += 10) {
      ends([ws.publish('a', ms)])
      await time.advance(10)
    }
    expect(ws.statistics.classes).toMatchObject({ timeout: 1 })
  })
})

describe('a Bowline server', () => {
  test('the protocol must be selected', async () => {
    const ws = bowline()
    const welcome = vi.spyOn(server, 'answer')
    await time.advance(1)
    expect(server.link?.protocols).toEqual(['bowline.v1'])
    expect(welcome.mock.calls[0]?.[1]).toMatchObject({ type: 'hello', link: 1, first: 1, next: 1 })
    expect(ws.session).toMatch(/^[0-9a-f]{32}$/)
    server.selects = false
    ws.reconnect()
    await time.advance(1)
    expect(ws.statistics.classes).toMatchObject({ protocol: 1 })
  })

  test('requests fail without a link, and with it when it is lost', async () => {
    const ws = bowline()
    const early = ends([ws.history('a')])
    await time.advance(1)
    server.silent = true
    const late = ends([ws.presence('a'), ws.publish('a', 1, { volatile: true }), ws.refresh('t')])
    server.link?.end()
    await time.advance(1)
    expect(early).toEqual([expect.objectContaining({ code: 'not_connected', retry: true })])
    expect(late).toEqual(Array(3).fill(expect.objectContaining({ code: 'connection_lost' })))
  })

  test('no more than a hundred requests wait for their answers', async () => {
    const ws = bowline()
    await time.advance(1)
    server.silent = true
    const found = ends(Array.from({ length: 101 }, () => ws.history('a')))
    await time.advance(1)
    expect(found.filter((end) => end !== undefined)).toHaveLength(1)
    expect(found.at(-1)).toMatchObject({ code: 'too_many_requests', retry: true })
  })

  test('promises tell what became of a message', async () => {
    const ws = bowline({ outbox: { messagesMax: 3 } })
    server.refusal = ({ data }) =>
      data === 'bad' ? { code: 'forbidden', message: 'no', retry: false } : undefined
    const drops: unknown[] = []
    ws.on('drop', ({ fate, reason }) => drops.push([fate, reason]))
    const sent = [
      ws.publish('a', 1),
      ws.publish('a', 'bad'),
      ws.publish('a', 3),
      ws.publish('a', 4),
    ]
    const found = ends(sent)
    await time.advance(10)
    expect(found).toEqual([
      'done',
      expect.objectContaining({ code: 'forbidden', fate: 'refused' }),
      'done',
      expect.objectContaining({ code: 'outbox_full' }),
    ])
    expect(drops).toEqual([
      ['refused', 'outbox_full'],
      ['refused', 'forbidden'],
    ])
    expect(found[1]).toBeInstanceOf(SocketError)
  })

  test('a lost session reports what was written, and sends the rest', async () => {
    const ws = bowline()
    await time.advance(1)
    server.silent = true
    const found = ends([ws.publish('a', 1)])
    server.link?.end()
    server.silent = false
    server.welcome = { session: 'fresh', reason: 'session_lost' }
    const later = ends([ws.publish('a', 2)])
    await time.advance(3000)
    expect(found).toEqual([expect.objectContaining({ code: 'session_lost', fate: 'unknown' })])
    expect(later).toEqual(['done'])
    expect(ws.session).toBe('fresh')
  })

  test('clearOutbox and resetSession resolve what waits', async () => {
    const ws = bowline()
    const found = ends([ws.publish('a', 1)])
    ws.clearOutbox()
    await time.advance(1)
    expect(found).toEqual([expect.objectContaining({ code: 'cleared', fate: 'refused' })])
    const { session } = ws
    ws.resetSession()
    await time.advance(10)
    expect(server.link?.received[0]).not.toHaveProperty('session')
    expect(ws.session).not.toBe(session)
    expect(ws.state).toBe('open')
  })

  test('replies come with, before and after the ack, or are told to be lost', async () => {
    const ws = bowline()
    await time.advance(1)
    server.answer = () => {}
    const sent = [ws.send('a'), ws.send('b', { method: 'm' }), ws.send('c')]
    const replies = ends([...sent.map(({ reply }) => reply), ws.request('m')])
    const { link } = server
    link?.say({ type: 'reply', seq: 1, data: 'before' }, { type: 'acked', seq: 3 })
    link?.say({ type: 'reply', seq: 2, data: 'after' })
    await time.advance(1)
    expect(replies.slice(0, 3)).toEqual(['before', 'after', undefined])
    link?.end()
    await time.advance(1)
    expect(replies[2]).toMatchObject({ code: 'reply_lost' })
  })

  test('a token is asked for, refreshed when it expires, and again when refused', async () => {
    const reasons: string[] = []
    const getToken = async ({ reason }: { reason: string }) => {
      reasons.push(reason)
      return `t${reasons.length}`
    }
    const ws = bowline({ getToken })
    await time.advance(1)
    expect(server.link?.received[0]).toMatchObject({ type: 'hello', token: 't1' })
    server.link?.say({ type: 'expiring', in_ms: 1000 })
    await time.advance(1)
    expect(server.link?.received.at(-1)).toEqual({ type: 'refresh', token: 't2' })
    server.link?.end(4401, '{"code":"token_expired"}', true)
    await time.advance(1)
    expect([ws.state, reasons]).toEqual(['open', ['connect', 'expired', 'refused']])
    ws.reauthenticate()
    await time.advance(1)
    expect(server.link?.received.at(-1)).toEqual({ type: 'refresh', token: 't4' })
  })

  test('a second refusal, or no token, blocks until the application acts', async () => {
    const ws = bowline({ getToken: () => 'bad', catalogue: russian })
    server.answer = (link) => link.end(4401, '{"code":"unauthorized"}', true)
    await time.advance(100)
    expect([ws.state, server.dialled.length]).toEqual(['blocked', 2])
    expect(ws.recommendation).toMatchObject({
      detail: 'Пожалуйста, войдите снова.',
      action: 'login',
    })
    const other = bowline({ getToken: () => Promise.reject(new SocketError('no', 'no')) })
    await time.advance(1)
    expect(other.state).toBe('blocked')
    const third = bowline({ getToken: () => Promise.reject(new Error('later')) })
    await time.advance(1)
    expect(third.state).toBe('waiting')
    ws.reauthenticate()
    await time.advance(1)
    expect(server.dialled.length).toBeGreaterThan(2)
  })

  test('make before break: no close is told, nothing is lost', async () => {
    const ws = bowline()
    const seen: unknown[] = []
    ws.subscribe('a', {
      listener: (delivery) => delivery.type === 'message' && seen.push(delivery.data),
    })
    await time.advance(1)
    const log = logOf(ws)
    server.link?.say({
      type: 'reconnect',
      after_ms: 50,
      reason: 'rebalance',
      url: 'ws://elsewhere/ws',
    })
    const sent = ends([ws.publish('a', 1)])
    await time.advance(100)
    server.publish('a', 2)
    await time.advance(1)
    expect([log, seen, sent, server.dialled.length]).toEqual([[], [1, 2], ['done'], 2])
    expect(server.dialled.at(-1)?.url).toBe(URL_)
    server.link?.say({ type: 'reconnect', after_ms: 1, reason: 'drain', url: 'ws://test/other' })
    await time.advance(10)
    expect(server.dialled.at(-1)?.url).toBe('ws://test/other')
  })

  test('replaced by another client it never takes back', async () => {
    const ws = bowline()
    await time.advance(1)
    server.link?.end(4409, '{"code":"replaced"}', true)
    await time.advance(300_000)
    expect([ws.state, server.dialled.length]).toEqual(['blocked', 1])
    expect(ws.recommendation).toMatchObject({
      detail: 'This session was opened elsewhere.',
      action: 'retry',
    })
  })

  test('a frame that is none ends the link', async () => {
    const ws = bowline()
    await time.advance(1)
    server.link?.onmessage?.({ data: 'nonsense' })
    await time.advance(1)
    expect(ws.statistics.classes).toEqual({ protocol: 1 })
  })

  test('bytes are published in a binary frame, whatever they come as', async () => {
    const ws = bowline()
    await time.advance(1)
    const sent: unknown[] = []
    vi.spyOn(server.link!, 'send').mockImplementation((data) => void sent.push(data))
    const bytes = new Uint8Array([0, 1, 10, 255, 0])
    for (const data of [
      bytes.subarray(1, 4),
      bytes.buffer.slice(1, 4),
      new DataView(bytes.buffer, 1, 3),
    ]) {
      void ws.publish('a', data)
    }
    void ws.publish('a', undefined)
    expect(sent.slice(0, 3).map((frame) => [...(frame as Uint8Array).slice(-4)])).toEqual(
      Array(3).fill([10, 1, 10, 255]),
    )
    expect(sent[3]).toContain('"data":null')
  })

  test('without option bowline these methods say so', () => {
    const ws = bowline({ startClosed: true })
    expect(() => ws.subscribe('a')).not.toThrow()
    const other = new (ws.constructor as typeof ResilientWebSocket)(URL_, [], {
      startClosed: true,
      environment: time.environment(server),
    })
    expect(() => other.subscribe('a')).toThrow(SocketError)
    expect(() => other.publish('a', 1)).toThrow(SocketError)
    expect(other.outboxLength).toBe(0)
    expect(other.session).toBeUndefined()
    void other.send('raw')
  })
})

describe('channels', () => {
  test('readers share a subscription; the last one ends it', async () => {
    const ws = bowline()
    const [one, two] = [ws.subscribe('a'), ws.subscribe('a')]
    await time.advance(1)
    const types = () => server.link?.received.map(({ type }) => type)
    expect(types()).toEqual(['hello'])
    one.unsubscribe()
    expect(types()).toEqual(['hello'])
    await two[Symbol.asyncDispose]()
    expect(types()).toEqual(['hello', 'unsubscribe'])
    await expect(two.ready).resolves.toBeDefined()
  })

  test('a signal ends a reader, unsubscribe all of them', async () => {
    const ws = bowline()
    const abort = new AbortController()
    ws.subscribe('a', { signal: abort.signal })
    const other = ws.subscribe('b')
    const ended: unknown[] = []
    ws.on('unsubscribed', ({ channel }) => ended.push(channel))
    await time.advance(1)
    abort.abort()
    ws.unsubscribe('b')
    ws.unsubscribe('never')
    expect(ended).toEqual(['a', 'b'])
    const items: unknown[] = []
    for await (const item of other) items.push(item)
    expect(items).toEqual([])
    const early = ws.subscribe('c', { signal: AbortSignal.abort() })
    await expect(early.ready).rejects.toMatchObject({ code: 'closed' })
  })

  test('deliveries tell of gaps and the end, too', async () => {
    const ws = bowline()
    const types: string[] = []
    const read = async () => {
      for await (const { type } of ws.subscribe('a').deliveries()) types.push(type)
    }
    const done = ends([read()])
    await time.advance(1)
    server.publish('a', 1)
    server.link?.say({ type: 'gap', channel: 'a', reason: 'slow', missed: 2 })
    server.link?.say({ type: 'error', id: 99, code: 'x' })
    server.link?.say({ type: 'unsubscribed', channel: 'a', code: 'forbidden' })
    await time.advance(1)
    expect([types, done]).toEqual([['subscribed', 'message', 'gap', 'ended'], ['done']])
  })

  test('a slow reader pauses its channel, and resumes it when it has caught up', async () => {
    const ws = bowline()
    const subscription = ws.subscribe('a', { readerMax: 2 })
    await time.advance(1)
    for (const data of [1, 2, 3]) server.publish('a', data)
    const types = () => server.link?.received.map(({ type }) => type)
    expect(types()).toEqual(['hello', 'unsubscribe'])
    const read = subscription.deliveries()
    await read.next()
    await read.next()
    await time.advance(1)
    expect(types()).toEqual(['hello', 'unsubscribe', 'subscribe'])
  })

  test('a refusal that may pass is asked again', async () => {
    server.welcome = {
      subscriptions: {
        a: { error: { code: 'overloaded', message: '', retry: true, retry_after_ms: 1000 } },
      },
    }
    const ws = bowline()
    const errors: unknown[] = []
    ws.on('subscribeerror', ({ error }) => errors.push([error.code, error.retryAfterMs]))
    const { ready } = ws.subscribe('a')
    const found = ends([ready])
    await time.advance(1)
    expect([errors, found]).toEqual([[['overloaded', 1000]], [undefined]])
    await time.advance(7000)
    expect(found[0]).toMatchObject({ recovered: true })
  })
})

/** A store that remembers. */
class MemoryStore implements Store {
  kept: StoredClient | undefined
  saves: StoredChange[] = []
  fails = false
  async load() {
    return structuredClone(this.kept)
  }
  async save(change: StoredChange) {
    if (this.fails) throw new Error('full')
    this.saves.push(change)
    const { head, put = [], forget = [], positions } = structuredClone(change)
    const before = this.kept ?? {
      session: undefined,
      link: 0,
      next: 1,
      messages: [],
      positions: {},
    }
    const touched = new Set([...forget, ...put.map(({ key }) => key)])
    const messages = [...before.messages.filter(({ key }) => !touched.has(key)), ...put]
    messages.sort((a, b) => a.key - b.key)
    this.kept = { ...before, ...head, messages, positions: { ...before.positions, ...positions } }
  }
  release() {}
}

describe('a store', () => {
  test('has a number and its message before they are written', async () => {
    const store = new MemoryStore()
    const ws = bowline({ store })
    await time.advance(1)
    const order: string[] = []
    const save = store.save.bind(store)
    store.save = async (change) => {
      await save(change)
      for (const { seq } of change.put ?? []) order.push(`saved ${seq}`)
    }
    const { link } = server
    const send = link!.send.bind(link)
    link!.send = (data) => {
      order.push(`wrote ${JSON.parse(String(data)).seq}`)
      send(data)
    }
    for (const data of [1, 2]) void ws.publish('a', data)
    await time.advance(500)
    expect(order).toEqual(['saved 1', 'wrote 1', 'saved 2', 'wrote 2'])
    expect(store.kept).toMatchObject({ next: 3, link: 1, messages: [] })
  })

  test('has what was never written, too', async () => {
    server.refuses = true
    const store = new MemoryStore()
    const ws = bowline({ store })
    for (const data of [1, 2]) void ws.publish('a', data)
    await time.advance(10)
    const messages = [1, 2].map((data) => ({
      seq: undefined,
      item: { channel: 'a', data: String(data) },
    }))
    expect(store.kept).toMatchObject({ next: 1, messages })
  })

  test('brings back session, numbers, messages and positions', async () => {
    const store = new MemoryStore()
    const ws = bowline({ store })
    ws.subscribe('a', { listener: () => {} })
    await time.advance(1)
    server.publish('a', 'seen')
    await time.advance(200)
    server.silent = true
    void ws.publish('a', 'written')
    await time.advance(200)
    expect(store.kept?.messages).toMatchObject([{ seq: 1 }])
    // The tab crashes; another life begins.
    const { session } = ws
    server.silent = false
    server.links.clear()
    const again = bowline({ store })
    const seen: unknown[] = []
    again.subscribe('a', {
      from: 'first',
      listener: (delivery) => delivery.type === 'message' && seen.push(delivery.data),
    })
    void again.publish('a', 'new')
    await time.advance(200)
    expect(server.link?.received[0]).toMatchObject({
      session,
      link: 2,
      first: 1,
      next: 2,
      subscribe: { a: '00000000000000aa.1.00000001' },
    })
    expect(seen).toEqual(['written', 'new'])
    again.close()
    await time.advance(10)
    expect(store.kept).toMatchObject({ session: undefined, messages: [] })
  })

  test('that fails stops nothing', async () => {
    const store = new MemoryStore()
    store.fails = true
    const found = ends([bowline({ store }).publish('a', 1)])
    await time.advance(100)
    expect(found).toEqual(['done'])
  })
})
