// What an application may do at any time: act by hand in every state, close, connect again.
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { connect, type ResilientWebSocket } from '../../src/index.ts'
import { ResilientWebSocket as PlainWebSocket } from '../../src/plain.ts'
import { english } from '../../src/recommendation/en.ts'
import type { Store, StoredClient } from '../../src/storage/store.ts'
import { begin, bowline, plain, server, time, types } from './lib/scripted.ts'

beforeEach(begin)

/** Brings a fresh client into a state. */
const STATES: Record<string, () => Promise<ResilientWebSocket>> = {
  async idle() {
    return bowline({ startClosed: true })
  },
  async authorizing() {
    const ws = bowline({ getToken: () => new Promise(() => {}) })
    await time.advance(1)
    return ws
  },
  async connecting() {
    server.silent = true
    const ws = bowline()
    await time.advance(1)
    server.silent = false
    return ws
  },
  async handshaking() {
    server.welcome = { type: 'none' }
    const ws = bowline()
    await time.advance(1)
    server.welcome = {}
    return ws
  },
  async open() {
    const ws = bowline()
    await time.advance(1)
    return ws
  },
  async probing() {
    const ws = bowline()
    await time.advance(1)
    server.silent = true
    server.hint('wake')
    server.silent = false
    return ws
  },
  async waiting() {
    server.refuses = true
    const ws = bowline()
    await time.advance(1)
    server.refuses = false
    return ws
  },
  async offline() {
    server.refuses = true
    const ws = bowline()
    await time.advance(1)
    server.hint('offline')
    server.refuses = false
    return ws
  },
  async dormant() {
    server.refuses = true
    const ws = bowline({ maxReconnectAttempts: 1 })
    while (ws.state !== 'dormant') await time.advance(500)
    server.refuses = false
    return ws
  },
  async blocked() {
    const ws = bowline()
    await time.advance(1)
    server.link?.end(4403, '{"code":"forbidden"}', true)
    return ws
  },
  async closed() {
    const ws = bowline()
    await time.advance(1)
    ws.close()
    await time.advance(10)
    return ws
  },
}

describe('actions by hand', () => {
  test.each(Object.keys(STATES))('work when %s', async (state) => {
    for (const action of ['reconnect', 'retryNow', 'reauthenticate'] as const) {
      begin()
      const ws = await STATES[state]!()
      expect(ws.state).toBe(state)
      ws[action]()
      await time.advance(20)
      // What is asked for is on its way already; it ends by its own deadline.
      const news = action === 'retryNow' ? ['connecting', 'handshaking', 'probing'] : []
      if (news.includes(state)) expect(server.dialled).toHaveLength(1)
      const waits =
        state === 'authorizing' ||
        (state === 'probing' && action !== 'reconnect') ||
        (action === 'retryNow' && ['connecting', 'handshaking'].includes(state))
      if (!waits) expect([action, ws.state]).toEqual([action, 'open'])
      expect(() => {
        ws.resetSession()
        ws.clearOutbox()
      }).not.toThrow()
      await time.advance(20)
      if (!waits) expect([action, ws.state]).toEqual([action, 'open'])
      ws.close()
      await time.advance(1100)
    }
  })

  test('asked for during a dial, another token is used for the next one', async () => {
    const tokens = ['old', 'new']
    const reasons: string[] = []
    server.silent = true
    const ws = bowline({
      getToken: ({ reason }) => {
        reasons.push(reason)
        return tokens.shift()
      },
    })
    await time.advance(1)
    expect(ws.state).toBe('connecting')
    server.silent = false
    ws.reauthenticate()
    await time.advance(10)
    expect(server.link?.received[0]).toMatchObject({ type: 'hello', token: 'new' })
    expect(reasons).toEqual(['connect', 'asked'])
  })
})

describe('after close()', () => {
  test('connecting again begins another life, on either face', async () => {
    const plain = new PlainWebSocket('ws://test/ws', [], { environment: time.environment(server) })
    const bowline_ = bowline()
    for (const ws of [plain, bowline_]) {
      const closes: number[] = []
      ws.addEventListener('close', ({ code }) => closes.push(code))
      await time.advance(1)
      ws.close(3001, 'enough')
      // While the link still closes, too.
      ws.reconnect()
      expect([0, 2]).toContain(ws.readyState)
      await time.advance(20)
      expect(closes).toHaveLength(1)
      expect([ws.readyState, ws.state]).toEqual([1, 'open'])
      ws.close()
      await time.advance(20)
      expect(closes).toHaveLength(2)
      expect(ws.readyState).toBe(3)
      ws.retryNow()
      await time.advance(20)
      expect(ws.readyState).toBe(1)
    }
    await bowline_.publish('a', 1)
    expect(server.link?.received[0]).toMatchObject({ type: 'hello', first: 1, next: 1 })
  })

  test('the last word counts, on either face', async () => {
    for (const make of [plain, bowline]) {
      const ws = make()
      await time.advance(1)
      const dials = server.dialled.length
      ws.close()
      ws.reconnect()
      ws.close()
      await time.advance(60_000)
      expect([ws.readyState, server.dialled.length]).toEqual([3, dials])
    }
  })

  test('readers end, and a new subscription has ended before it began', async () => {
    const ws = bowline()
    const subscription = ws.subscribe('a')
    const deliveries: string[] = []
    ws.subscribe('b', { listener: ({ type }) => deliveries.push(type) })
    await time.advance(1)
    const read = (async () => {
      for await (const _ of subscription) throw new Error('nothing was published')
      return 'ended'
    })()
    ws.close()
    expect(await read).toBe('ended')
    expect(deliveries).toEqual(['subscribed', 'ended'])
    await expect(ws.subscribe('c').ready).rejects.toMatchObject({ code: 'closed' })
  })
})

describe('a session that is given up', () => {
  test.each(['open', 'handshaking'])(
    'when %s, numbers from 1 never reach the old one',
    async (at) => {
      const ws = bowline()
      await time.advance(1)
      const { session } = ws
      for (const data of [1, 2, 3]) await ws.publish('a', data)
      if (at === 'handshaking') {
        server.welcome = { type: 'none' }
        server.link?.end()
        ws.retryNow()
        await time.advance(1)
        server.welcome = { session: 'another' }
      } else server.welcome = { session: 'another' }
      const seen: unknown[] = []
      const old = server.link!
      ws.resetSession()
      const stored = ws.publish('a', 'mine')
      stored.then(() => seen.push('acked'))
      await time.advance(20)
      expect(old.received.filter(({ data }) => data === 'mine')).toEqual([])
      expect(server.link?.received[0]).toMatchObject({ type: 'hello', first: 1, next: 1 })
      expect(server.link?.received[0]?.session).toBeUndefined()
      expect(types()).toContain('publish')
      expect(ws.session).not.toBe(session)
      expect(seen).toEqual(['acked'])
    },
  )
})

describe('an outbox that is full', () => {
  const fill = (drops?: 'newest' | 'oldest') => {
    server.refuses = true
    const ws = bowline({ outbox: { messagesMax: 2, ...(drops && { drops }) } })
    const dropped: unknown[] = []
    ws.on('drop', ({ key, fate, reason }) => dropped.push([key, fate, reason]))
    const sent = [1, 2, 3].map((data) => ws.publish('a', data))
    return { ws, dropped, sent }
  }

  test('refuses the newest message by default', async () => {
    const { dropped, sent } = fill()
    expect(dropped).toEqual([[sent[2]?.key, 'refused', 'outbox_full']])
    expect(sent.map(({ progress }) => progress)).toEqual(['queued', 'queued', 'dropped'])
  })

  test('gives up the oldest that was never written, if asked to', async () => {
    const { ws, dropped, sent } = fill('oldest')
    expect(dropped).toEqual([[sent[0]?.key, 'refused', 'outbox_full']])
    server.refuses = false
    ws.retryNow()
    await Promise.all(sent.slice(1))
    expect(sent.map(({ progress }) => progress)).toEqual(['dropped', 'acked', 'acked'])
    // What is on its way stays: it may have been stored.
    server.silent = true
    const late = [4, 5, 6].map((data) => ws.publish('a', data))
    expect(late.map(({ progress }) => progress)).toEqual(['sent', 'sent', 'dropped'])
    expect(() => ws.publish('a', 'x'.repeat(70_000))).not.toThrow()
    expect(ws.outboxLength).toBe(2)
  })

  test('counts bytes, too, and a message beyond all bounds drops no other', async () => {
    server.refuses = true
    const ws = bowline({ outbox: { bytesMax: 10, drops: 'oldest' } })
    const sent = ['aaa', 'bbb', 'cc', 'x'.repeat(20)].map((data) => ws.publish('a', data))
    expect(sent.map(({ progress }) => progress)).toEqual(['dropped', 'queued', 'queued', 'dropped'])
  })
})

describe('a store', () => {
  test('is read although the client was told to start later', async () => {
    const kept: StoredClient = {
      session: 's'.repeat(32),
      link: 4,
      next: 1,
      messages: [],
      positions: {},
    }
    const store: Store = { load: async () => kept, save: async () => {}, release() {} }
    const ws = bowline({ store, startClosed: true })
    const stored = ws.publish('a', 1)
    await time.advance(1)
    expect(server.dialled).toHaveLength(0)
    ws.reconnect()
    ws.reconnect()
    await stored
    expect(server.link?.received[0]).toMatchObject({ session: kept.session })
  })
})

describe('what an application hands in and throws', () => {
  const mistake = () => {
    throw new Error('a mistake')
  }

  beforeEach(() => {
    vi.useFakeTimers()
  })
  afterEach(() => {
    // It is reported as uncaught, as that of an event's listener is.
    expect(() => vi.runAllTimers()).toThrow('a mistake')
    vi.useRealTimers()
  })

  test('as a listener takes nothing from other readers, and stops no timer', async () => {
    const ws = bowline()
    const seen: unknown[] = []
    ws.subscribe('a', { listener: ({ type }) => type === 'message' && mistake() })
    ws.subscribe('a', { listener: (item) => item.type === 'message' && seen.push(item.data) })
    ws.on('message', ({ data }) => seen.push(data))
    await time.advance(1)
    server.publish('a', 1)
    server.silent = true
    await time.advance(60_000)
    expect(seen).toEqual([1, 1])
    expect(server.dialled.length).toBeGreaterThan(1)
  })

  test('as a heartbeat is none', async () => {
    const ws = plain({ heartbeat: { message: mistake } })
    await time.advance(1)
    await time.advance(60_000)
    expect(ws.statistics.opens).toBeGreaterThan(1)
  })

  test('as a strategy leaves the usual one', async () => {
    const ws = bowline({ strategy: mistake })
    await time.advance(1)
    server.link?.end()
    expect(ws.state).toBe('waiting')
    await time.advance(2000)
    expect(ws.state).toBe('open')
  })

  test('as words for the user leaves the rest as it is', async () => {
    const ws = bowline({ catalogue: { ...english, codes: mistake } })
    await time.advance(1)
    server.link?.end(4503, '{"code":"overloaded"}', true)
    expect(ws.state).toBe('waiting')
    await time.advance(60_000)
    expect(ws.state).toBe('open')
  })
})

describe('smaller promises', () => {
  test('hints that follow each other do not put death off', async () => {
    const ws = bowline()
    await time.advance(1)
    server.silent = true
    const began = time.nowMs
    while (ws.state === 'open' || ws.state === 'probing') {
      server.hint('wake')
      await time.advance(100)
    }
    expect(time.nowMs - began).toBeLessThanOrEqual(1700)
  })

  test('a URL may be a promise', async () => {
    const ws = bowline()
    ws.close()
    const other = connect(Promise.resolve(new URL('http://test/late')), {
      environment: time.environment(server),
    })
    expect(other.url).toBe('')
    await time.advance(1)
    expect(server.link?.url).toBe('ws://test/late')
  })

  test('a reader that joins is ready as the first one is', async () => {
    const ws = bowline()
    const first = ws.subscribe('a')
    await first.ready
    const second = ws.subscribe('a')
    expect(await second.ready).toEqual(await first.ready)
  })

  test('an outage that is given up is told once', async () => {
    const ws = bowline({ maxReconnectAttempts: 1 })
    const told: string[] = []
    ws.on('lostconnection', ({ status }) => told.push(status))
    await time.advance(1)
    server.refuses = true
    server.link?.end()
    await time.advance(600_000)
    server.refuses = false
    while (ws.state !== 'open') await time.advance(1000)
    expect(told).toEqual(['lost', 'failed', 'restored'])
  })

  test('diagnostics hold no token, although the peer repeats it', async () => {
    const ws = bowline({ getToken: () => 'ey.secret.1' })
    await time.advance(1)
    server.link?.end(3000, 'no such token: ey.secret.1', true)
    const text = JSON.stringify(ws.diagnostics())
    expect(text).toContain('no such token: …')
    expect(text).not.toContain('secret')
    const short = bowline({ getToken: () => '1' })
    await time.advance(1)
    expect(short.diagnostics().state).toBe('open')
  })
})
