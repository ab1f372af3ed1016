// What a client does about failures and hints, and what it tells of them.
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { begin, bowline, ends, logOf, plain, server, time } from './lib/scripted.ts'

beforeEach(begin)
afterEach(() => vi.restoreAllMocks())

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
      begin()
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
      // Given up from this side: no error.
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

  test('a link after one that died of silence is judged by what it answers itself', async () => {
    const ws = plain({ heartbeat: { message: () => 'ping', intervalMs: 1000, timeoutMs: 500 } })
    await time.advance(1)
    server.silent = true
    await time.advance(2200)
    expect(ws.statistics.classes).toEqual({ timeout: 1 })
    server.silent = false
    server.answer = (link) => link.say({ any: 'answer' })
    await time.advance(60_000)
    expect([ws.state, ws.health.level, server.dialled.length]).toEqual(['open', 'good', 2])
  })

  test('the answer to a heartbeat may take as long as the application says', async () => {
    const ws = plain({ heartbeat: { message: () => 'ping', intervalMs: 10_000, timeoutMs: 5000 } })
    let delay = 10
    server.answer = (link) => server.setTimeout(() => link.say({ any: 'answer' }), delay)
    await time.advance(100_000)
    delay = 4900
    await time.advance(100_000)
    expect([ws.state, ws.health.missedProbes, server.dialled.length]).toEqual(['open', 0, 1])
  })

  test('a heartbeat that waits for its answer does not hold up a hint', async () => {
    const ws = plain({ heartbeat: { message: () => 'ping', intervalMs: 10_000, timeoutMs: 5000 } })
    server.answer = (link) => link.say({ any: 'answer' })
    await time.advance(15_000)
    server.silent = true
    while (ws.state === 'open') await time.advance(100)
    server.hint('wake')
    await time.advance(2000)
    expect(ws.statistics.classes).toEqual({ timeout: 1 })
  })

  test('why an upgrade failed is asked from the second time on', async () => {
    server.refuses = true
    const answers: (Response | Error)[] = [
      new Response('{"code":"too_many_connections","retry_after_ms":5000}', { status: 429 }),
      new Response('', { status: 503, headers: { 'Retry-After': '7' } }),
      // A date: ten minutes after the beginning of this time.
      new Response('', {
        status: 429,
        headers: { 'Retry-After': new Date(600_000).toUTCString() },
      }),
      new Response('{"code":"ok"}'),
      new Response('', { status: 426 }),
      new Error('nobody'),
    ]
    const asked: unknown[] = []
    const fetch = vi.fn(async (url: unknown, init?: RequestInit) => {
      asked.push([url, init?.mode, init?.credentials])
      const answer = init?.mode === 'no-cors' ? new Error('nobody') : answers.shift()
      if (answer instanceof Response) return answer
      throw answer
    })
    const ws = plain({ environment: { fetch: fetch as never } }, 'wss://test/ws?a=b')
    const evidence: unknown[] = []
    ws.on('error', (event) => evidence.push(event.evidence))
    await time.advance(1_200_000)
    const dated = evidence.splice(3, 1)[0] as { status: number; retry_after_ms: number }
    expect(dated.status).toBe(429)
    expect(dated.retry_after_ms).toBeGreaterThan(500_000)
    expect(dated.retry_after_ms).toBeLessThan(600_000)
    expect(ws.statistics.codes).toEqual({ 429: 1, 503: 1, too_many_connections: 1 })
    expect(evidence.slice(0, 6)).toEqual([
      { kind: 'opaque' },
      { kind: 'http', status: 429, code: 'too_many_connections', retry_after_ms: 5000 },
      { kind: 'http', status: 503, retry_after_ms: 7000 },
      { kind: 'not_websocket' },
      { kind: 'opaque' },
      { kind: 'unreachable' },
    ])
    expect(asked[0]).toEqual(['https://test/ws?a=b', 'cors', 'same-origin'])
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

  test('a close during the question is told at once', async () => {
    server.refuses = true
    const ws = plain({ environment: { fetch: () => new Promise(() => {}) } })
    const codes: number[] = []
    await time.advance(1000)
    expect(server.dialled).toHaveLength(2)
    const queued = ends([ws.send('early')])
    ws.on('close', ({ code }) => codes.push(code))
    ws.close()
    await time.advance(1)
    expect([ws.readyState, codes]).toEqual([3, [1006]])
    expect(queued).toMatchObject([{ code: 'closed' }])
  })

  test('a timer that is late lets messages through before it judges', async () => {
    let behind = 0
    const base = time.environment(server)
    const ws = bowline({ environment: { now: () => base.now!() + behind } })
    await time.advance(1)
    behind = 45_000_000
    const { link } = server
    // Nothing else may put the timer off.
    server.silent = true
    await time.advance(40_000 + 20)
    // The page was stalled: the timer has fired, long overdue, and now come the messages behind it.
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
