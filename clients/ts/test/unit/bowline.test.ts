// Messages, requests, tokens and sessions on a scripted server of `bowline.v1`.
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { type ResilientWebSocket, SocketError } from '../../src/index.ts'
import { russian } from '../../src/ru.ts'
import { deferred } from '../../src/socket/events.ts'
import { ADDRESS, begin, bowline, ends, logOf, server, time } from './lib/scripted.ts'

beforeEach(begin)
afterEach(() => vi.restoreAllMocks())

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

  test('a volatile message has its tag, too', async () => {
    const ws = bowline()
    await time.advance(1)
    void ws.publish('a', 1, { tag: 'mine', volatile: true })
    const published = { type: 'publish', channel: 'a', data: 1, tag: 'mine' }
    expect(server.link?.received.at(-1)).toEqual({ ...published, id: expect.anything() })
  })

  test('a page of history has bytes as bytes', async () => {
    const ws = bowline()
    await time.advance(1)
    const page = { channel: 'a', recovered: true, more: false }
    const publications = [
      { position: '00000000000000aa.1.00000001', data_b64: 'AP8=', tag: 't' },
      { position: '00000000000000aa.2.00000001', data: null },
      { position: '00000000000000aa.3.00000001', data_b64: '' },
    ]
    vi.spyOn(server, 'answer').mockImplementation((link, { id }) =>
      link.say({ type: 'reply', id, data: { ...page, publications } }),
    )
    expect(await ws.history('a')).toStrictEqual({
      ...page,
      publications: [
        { position: '00000000000000aa.1.00000001', data: Uint8Array.of(0, 255), tag: 't' },
        { position: '00000000000000aa.2.00000001', data: null },
        { position: '00000000000000aa.3.00000001', data: new Uint8Array() },
      ],
    })
  })

  test('what nests too deep for a frame is refused unnumbered, and what follows goes', async () => {
    const nested = (levels: number) => JSON.parse('['.repeat(levels) + ']'.repeat(levels))
    const ws = bowline()
    await time.advance(1)
    const drops: unknown[] = []
    ws.on('drop', ({ fate, reason }) => drops.push([fate, reason]))
    const alternating = JSON.parse(`${'[{"[":'.repeat(64)}0${'}]'.repeat(64)}`)
    const volatile = true
    const deep = [
      ws.publish('a', nested(128)),
      ws.send(alternating),
      ws.publish('a', nested(128), { volatile }),
      ws.send(alternating, { volatile }),
    ]
    const brackets = `\\"${'['.repeat(200)}\\`
    const wide = Array.from({ length: 200 }, () => [{}])
    const fine = [nested(127), brackets, { [brackets]: nested(126) }, wide]
    const found = ends([...deep, ...fine.map((data) => ws.publish('a', data))])
    await time.advance(10)
    const refused = expect.objectContaining({ code: 'too_deep', retry: false, fate: 'refused' })
    expect(found).toEqual([...Array(4).fill(refused), ...Array(4).fill('done')])
    expect(found[2]).toBeInstanceOf(SocketError)
    expect(drops).toEqual(Array(2).fill(['refused', 'too_deep']))
    expect(server.link?.received.slice(1)).toMatchObject(
      fine.map((data, index) => ({ type: 'publish', seq: index + 1, data })),
    )
  })

  test('bytes that wait are those of the call, whatever becomes of their buffer', async () => {
    const frames: Uint8Array[] = []
    const ws = bowline()
    const bytes = Uint8Array.of(1, 2, 3, 4)
    void ws.publish('a', bytes.subarray(1, 3))
    void ws.publish('a', bytes.buffer)
    bytes.fill(9)
    await time.advance(1)
    for (const { raw } of server.link?.received ?? []) if (raw) frames.push(raw as Uint8Array)
    expect(frames.map((frame) => [...frame.slice(frame.indexOf(10) + 1)])).toEqual([
      [2, 3],
      [1, 2, 3, 4],
    ])
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
    // One that ends at once is replaced at the pace of other failures.
    await time.advance(10_000)
    server.link?.end(4401, '{"code":"token_expired"}', true)
    await time.advance(1)
    expect([ws.state, reasons]).toEqual(['open', ['connect', 'expired', 'refused']])
    ws.reauthenticate()
    await time.advance(1)
    expect(server.link?.received.at(-1)).toEqual({ type: 'refresh', token: 't4' })
  })

  test('asked anew by hand, only the newest answer for a token counts', async () => {
    const asked = [deferred<string>(), deferred<string>()]
    const questions = asked.values()
    const ws = bowline({ getToken: () => questions.next().value?.promise ?? 'none' })
    await time.advance(1)
    ws.retryNow()
    await time.advance(1)
    asked[0]?.reject(new SocketError('no', 'no'))
    await time.advance(1)
    expect(ws.state).toBe('authorizing')
    asked[1]?.resolve('second')
    await time.advance(1)
    expect(server.link?.received[0]).toMatchObject({ type: 'hello', token: 'second' })
    expect(ws.state).toBe('open')
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
    expect(server.dialled.at(-1)?.url).toBe(ADDRESS)
    server.link?.say({ type: 'reconnect', after_ms: 1, reason: 'drain', url: 'ws://test/other' })
    await time.advance(1000)
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

  test('without option bowline these methods say so', async () => {
    const ws = bowline({ startClosed: true })
    expect(() => ws.subscribe('a')).not.toThrow()
    const other = new (ws.constructor as typeof ResilientWebSocket)(ADDRESS, [], {
      startClosed: true,
      environment: time.environment(server),
    })
    expect(() => other.subscribe('a')).toThrow(SocketError)
    await expect(other.publish('a', 1)).rejects.toThrow(SocketError)
    expect(other.outboxLength).toBe(0)
    expect(other.session).toBeUndefined()
    void other.send('raw')
  })
})
