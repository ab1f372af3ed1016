// What an application hands in by mistake is answered, and what it must not lose is not lost.
import { runInNewContext } from 'node:vm'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import { ResilientWebSocket, SocketError } from '../../src/index.ts'
import type { SocketOptions } from '../../src/socket/options.ts'
import type { Store } from '../../src/storage/store.ts'
import { ADDRESS, begin, bowline, ends, plain, server, time } from './lib/scripted.ts'

beforeEach(begin)

describe('a token', () => {
  const signedOut = () => Promise.reject(Object.assign(new Error('no cookie'), { retry: false }))

  test('that is refused by its source at the first dial is explained', async () => {
    const ws = bowline({ getToken: signedOut })
    const reasons: unknown[] = []
    const errors: unknown[] = []
    ws.on('statechange', ({ current, reason }) => reasons.push([current, reason?.class]))
    ws.on('error', ({ evidence, verdict }) => errors.push([evidence, verdict?.class]))
    await time.advance(10)
    expect(reasons).toEqual([['blocked', 'auth']])
    const cause = 'Error: no cookie'
    expect(errors).toEqual([[{ kind: 'token', retry: false, cause }, 'auth']])
    expect(ws.recommendation).toMatchObject({ title: 'Signed out', action: 'login' })
  })

  test('in a URL is in no cause, whatever is thrown', async () => {
    const causes: unknown[] = []
    const thrown = [
      new Error('no wss://me:secret@test/?token=secret'),
      Object.create(null),
      Symbol('secret?secret'),
    ]
    const source = () => {
      const error = thrown.shift()
      if (error) throw error
      return 'mailto:test?token=secret'
    }
    const ws = plain({}, source)
    ws.on('error', ({ evidence }) => causes.push((evidence as { cause?: string }).cause))
    await time.advance(20_000)
    expect(causes.length).toBeGreaterThan(3)
    expect(causes[0]).toBe('Error: no wss://test/?…')
    expect(causes[3]).toMatch(/no URL of a WebSocket/)
    expect(JSON.stringify([causes, ws.diagnostics()])).not.toContain('secret')
  })

  test('whose source fails for now is waited for, and explained', async () => {
    const ws = bowline({ getToken: () => Promise.reject(new Error('down')) })
    const classes: unknown[] = []
    ws.on('reconnecting', (event) => classes.push(event.class))
    await time.advance(10)
    expect([ws.state, classes]).toEqual(['waiting', ['network']])
    expect(ws.recommendation).toMatchObject({ title: 'Connection lost', action: 'wait' })
  })

  test('handed over without a link is refused, and nobody need wait for it', async () => {
    const ws = bowline({ startClosed: true })
    const unhandled = vi.fn()
    process.on('unhandledRejection', unhandled)
    void ws.refresh('T1')
    await time.advance(10)
    await new Promise(setImmediate)
    process.off('unhandledRejection', unhandled)
    expect(unhandled).not.toHaveBeenCalled()
    await expect(ws.refresh('T2')).rejects.toMatchObject({ code: 'not_connected' })
  })

  test('is in no diagnostics, nor are earlier ones and the password of a URL', async () => {
    let count = 0
    const ws = plain({ getToken: () => `secret${count++}` }, 'ws://me:password@test/ws')
    for (let round = 0; round < 3; round++) {
      await time.advance(40_000)
      server.link?.end(4401, `no secret${round}`)
    }
    await time.advance(10)
    const told = JSON.stringify(ws.diagnostics())
    expect(count).toBeGreaterThan(2)
    expect(told).toContain('no …')
    expect(told).not.toMatch(/secret|password/)
  })

  test('that stands encoded in a URL, or that a server takes for a code, is in no diagnostics', async () => {
    const token = 'se/cr+et=='
    const source = () => `ws://test/${encodeURIComponent(token)}/x`
    const ws = plain({ getToken: () => token }, source)
    await time.advance(10)
    server.link?.end(4500, JSON.stringify({ code: `no ${token}` }))
    await time.advance(10)
    const { url, statistics } = ws.diagnostics()
    expect([url, statistics.codes]).toEqual(['ws://test/…/x', { 'no …': 1 }])
    expect(JSON.stringify(ws.diagnostics())).not.toMatch(/cr/)
  })

  test('and the payload of a message are in no diagnostics, in whatever form it came', async () => {
    const ws = bowline()
    ws.subscribe('a', { listener() {} })
    await time.advance(10)
    const position = '00000000000000aa.1.00000001'
    server.link?.say({ type: 'message', channel: 'a', position, data_b64: 'c2VjcmV0' })
    const told = JSON.stringify(ws.diagnostics())
    expect(told).toContain(position)
    expect(told).not.toContain('c2VjcmV0')
  })

  test('and the secret of the session are not written to the console', async () => {
    const debug = vi.spyOn(console, 'debug').mockImplementation(() => {})
    const ws = bowline({ debug: true })
    await time.advance(10)
    const written = JSON.stringify(debug.mock.calls)
    debug.mockRestore()
    expect(written).toContain('welcome')
    expect(written).not.toContain(ws.session as string)
  })
})

describe('a promise of a URL', () => {
  test.each<[string, SocketOptions]>([
    ['that nobody asked for yet', { startClosed: true }],
    ['while a token is awaited', { getToken: () => new Promise<string>(() => {}) }],
  ])('may be rejected %s, and the dial tells of it', async (_, options) => {
    const unhandled = vi.fn()
    process.on('unhandledRejection', unhandled)
    const ws = plain(options, Promise.reject(new Error('no address')))
    const causes: unknown[] = []
    ws.on('error', ({ evidence }) => causes.push((evidence as { cause?: string }).cause))
    await time.advance(10)
    await new Promise(setImmediate)
    process.off('unhandledRejection', unhandled)
    expect(unhandled).not.toHaveBeenCalled()
    if (!options.startClosed) return
    ws.reconnect()
    await time.advance(10)
    expect(causes).toEqual(['Error: no address'])
  })
})

describe('data', () => {
  test('of another realm, or shared, is bytes all the same', async () => {
    const given = [
      runInNewContext('new Uint8Array([104, 105]).buffer'),
      runInNewContext('new Uint8Array([0, 104, 105]).subarray(1)'),
      runInNewContext('new DataView(new Uint8Array([104, 105]).buffer)'),
      new Uint8Array(new SharedArrayBuffer(2)).fill(104).buffer,
    ]
    const texts = ['hi', 'hi', 'hi', 'hh']
    const ws = bowline()
    const socket = plain()
    for (const data of given) void socket.send(data)
    expect(socket.bufferedAmount).toBe(8)
    await time.advance(1)
    const frames: unknown[] = []
    for (const link of server.links) link.send = (data) => frames.push(data)
    for (const data of given) void ws.publish('a', data)
    await time.advance(1)
    expect(
      frames.map(
        (frame) =>
          Buffer.from(frame as never)
            .toString()
            .split('\n')[1],
      ),
    ).toEqual(texts)
    const [received] = [...server.links].map((link) => link.received).filter((all) => !all[0]?.type)
    expect(received?.map(({ raw }) => Buffer.from(raw as never).toString())).toEqual(texts)
  })

  test('that is neither bytes nor JSON is refused, by the promise', async () => {
    const ws = bowline()
    await time.advance(10)
    const circle: unknown[] = []
    circle.push(circle)
    const given = [new Blob(['hello']), 10n, circle, Symbol('no'), () => 1]
    const sent = given.flatMap((data) => [
      ws.send(data),
      ws.publish('news', data),
      ws.publish('news', data, { volatile: true }),
    ])
    const found = ends(sent)
    await time.advance(10)
    for (const error of found) {
      expect(error).toMatchObject({ code: 'unsupported_data', fate: 'refused' })
    }
    expect(sent.map(({ progress }) => progress)).toEqual(sent.map(() => 'dropped'))
    expect(server.link?.received).toHaveLength(1)
  })

  test('for a name that no server can read is refused, and halves of pairs in it are not', async () => {
    const ws = bowline()
    await time.advance(1)
    const found = ends([
      ws.publish('\ud800', 1),
      ws.publish('', 1, { volatile: true }),
      ws.publish('a', 1, { tag: '\ud800' }),
      ws.publish('a', 1, { tag: '\udfff', volatile: true }),
      ws.request('\ud800'),
      ws.publish('a', { '\ud800': '\udfff' }, { tag: '😀' }),
    ])
    await time.advance(1)
    const codes = ['bad_channel', 'bad_channel', 'malformed', 'malformed', 'malformed']
    const refused = codes.map((code) => expect.objectContaining({ code, fate: 'refused' }))
    expect(found).toEqual([...refused, 'done'])
    expect(server.link?.received).toMatchObject([
      { type: 'hello' },
      { seq: 1, data: { '\ud800': '\udfff' }, tag: '😀' },
    ])
  })

  test('for another server is what a WebSocket makes of it', async () => {
    const ws = plain()
    void ws.send(42)
    expect(ws.bufferedAmount).toBe(2)
    expect(() => ws.send(Symbol('no'))).toThrow(TypeError)
    await time.advance(10)
    expect(server.link?.received).toEqual([{ raw: '42' }])
  })

  test('for a Bowline server goes to none other, by the promise', async () => {
    const environment = time.environment(server)
    const any = new ResilientWebSocket(ADDRESS, [], { environment })
    const refused = [any.publish('news', 1), any.refresh('T'), any.history('news')]
    for (const error of await Promise.all(refused.map((promise) => promise.catch((e) => e)))) {
      expect(error).toMatchObject({ code: 'not_supported' })
    }
  })

  test('that waits counts as buffered, and its bound may have the name of other libraries', async () => {
    const ws = bowline({ startClosed: true, maxEnqueuedMessages: 2 })
    const found = ends([1, 2, 3].map((data) => ws.send(data)))
    await time.advance(10)
    expect([ws.outboxLength, ws.bufferedAmount]).toEqual([2, 2])
    expect(found[2]).toMatchObject({ code: 'outbox_full' })
  })

  test('waits where the first dial is the application’s, and can be given up, on either face', async () => {
    for (const make of [plain, bowline]) {
      const ws = make({ startClosed: true })
      const found = ends([ws.send('1')])
      await time.advance(10)
      expect(found).toEqual([undefined])
      ws.clearOutbox()
      await time.advance(10)
      expect(found[0]).toMatchObject({ code: 'cleared', fate: 'refused' })
    }
  })

  test('tells how far it has come', async () => {
    const any = new ResilientWebSocket(ADDRESS, [], {
      environment: time.environment(server),
      startClosed: true,
    })
    const waits = any.send('1')
    const volatile = any.send('2', { volatile: true })
    const found = ends([waits, volatile])
    expect(waits.progress).toBe('queued')
    any.resetSession()
    any.reconnect()
    await time.advance(10)
    expect([waits.progress, volatile.progress]).toEqual(['sent', 'dropped'])
    expect(found[1]).toMatchObject({ code: 'not_connected', fate: 'refused' })
    expect(server.link?.received).toEqual([{ raw: '1' }])
  })

  test('that is volatile tells its fate', async () => {
    const ws = bowline()
    await time.advance(10)
    server.answer = () => {}
    const lost = ws.publish('news', 1, { volatile: true })
    const found = ends([lost])
    server.link?.end(1006)
    const away = ends([ws.publish('news', 2, { volatile: true })])
    await time.advance(1)
    expect(found[0]).toMatchObject({ code: 'connection_lost', fate: 'unknown' })
    expect(away[0]).toMatchObject({ code: 'not_connected', fate: 'refused' })
    expect(found[0]).toBeInstanceOf(SocketError)
  })
})

describe('options', () => {
  test('that are no numbers, or below 0, are refused', () => {
    expect(() => plain({ minReconnectionDelay: Number.NaN })).toThrow(RangeError)
    expect(() => plain({ maxRetries: -1 })).toThrow('maxRetries: 0 or more')
    expect(() => plain({ heartbeat: { message: () => '', intervalMs: -1 } })).toThrow(RangeError)
    expect(() => bowline({ outbox: { bytesMax: -1 } })).toThrow('bytesMax: 0 or more')
  })

  test.each<[object, string]>([
    [{ minReconnectionDelay: '100' }, 'minReconnectionDelay: 0 or more'],
    [{ maxReconnectionDelay: 100n }, 'maxReconnectionDelay: 0 or more'],
    [{ maxReconnectAttempts: true }, 'maxReconnectAttempts: 0 or more'],
    [{ maxRetries: {} }, 'maxRetries: 0 or more'],
    [{ reconnectionDelayGrowFactor: '2' }, 'reconnectionDelayGrowFactor: 0 or more'],
    [{ minUptime: '2' }, 'minUptime: 0 or more'],
    [{ connectionTimeout: '2' }, 'connectionTimeout: 0 or more'],
    [{ maxEnqueuedMessages: 'x' }, 'maxEnqueuedMessages: 0 or more'],
    [{ seed: 'x' }, 'seed: 0 or more'],
    [{ getToken: 'x' }, 'getToken: a function'],
    [{ strategy: 5 }, 'strategy: a function'],
  ])('of another type are refused by either face: %o', (options, message) => {
    expect(() => plain(options)).toThrow(message)
    expect(() => bowline(options)).toThrow(message)
  })

  test('of another type are refused where they are nested', () => {
    const beat = (more: object) => plain({ heartbeat: { message: () => '', ...more } })
    expect(() => beat({ message: 'ping' })).toThrow('message: a function')
    expect(() => beat({ intervalMs: '5' })).toThrow('intervalMs: 0 or more')
    expect(() => beat({ timeoutMs: '5' })).toThrow('timeoutMs: 0 or more')
    const boxed = (outbox: object) => bowline({ outbox })
    expect(() => boxed({ messagesMax: '5' })).toThrow('messagesMax: 0 or more')
    expect(() => boxed({ bytesMax: 'x' })).toThrow('bytesMax: 0 or more')
    expect(() => boxed({ ageMaxMs: '5' })).toThrow('ageMaxMs: 0 or more')
    expect(() => boxed({ drops: 'lol' })).toThrow('drops: newest or oldest')
    expect(() => bowline({ readerMax: '5' as never })).toThrow('readerMax: 0 or more')
  })

  test('that are nothing are absent', async () => {
    const nothing = { maxRetries: undefined, getToken: undefined, strategy: null, minUptime: null }
    const outbox = { drops: undefined, bytesMax: undefined }
    const ws = bowline({ ...nothing, outbox } as never)
    plain({ ...nothing, maxRetries: Number.POSITIVE_INFINITY } as never)
    await time.advance(10)
    expect(ws.state).toBe('open')
  })

  test('that are refused by the platform are refused at once', () => {
    const environment = time.environment(server)
    const twice = () => new ResilientWebSocket(ADDRESS, ['a', 'a'], { environment })
    expect(twice).toThrow('protocols: tokens, each of them once')
    expect(() => plain({ environment: { WebSocket: undefined } })).toThrow('option WebSocket')
  })

  test('a store that throws is as none', async () => {
    const never = () => {
      throw new Error('no disk')
    }
    const store: Store = { load: never, save: never, release: never }
    const ws = bowline({ store })
    const found = ends([ws.publish('a', 1)])
    await time.advance(10)
    expect([ws.state, found]).toEqual(['open', ['done']])
    ws.close()
    await time.advance(10)
    expect(ws.readyState).toBe(3)
    ws.reconnect()
    await time.advance(10)
    expect(ws.state).toBe('open')
  })
})

describe('advice', () => {
  test('tells of each new time, and is that of the state that is told', async () => {
    server.refuses = true
    const ws = plain()
    const told: (number | undefined)[] = []
    const seen: unknown[] = []
    ws.on('recommendation', ({ recommendation }) => told.push(recommendation?.retryAt))
    ws.on('statechange', ({ current }) => seen.push([current, ws.recommendation?.title]))
    await time.advance(20_000)
    const times = told.filter((at) => at !== undefined)
    expect(times.length).toBeGreaterThan(2)
    expect(new Set(times).size).toBe(times.length)
    expect(seen[0]).toEqual(['waiting', 'Connection lost'])
    const { recommendation } = ws
    expect(ws.recommendation).toBe(recommendation)
    server.refuses = false
    const opened = new Promise((resolve) => ws.on('open', () => resolve(ws.recommendation)))
    await time.advance(60_000)
    expect(await opened).toBeUndefined()
  })

  test('does not promise what is not done', async () => {
    const ws = plain({ maxRetries: 0 })
    await time.advance(10)
    server.link?.end(1006)
    await time.advance(10)
    const stopped = { title: 'Not connected', detail: 'Please try again.', action: 'retry' }
    expect([ws.state, ws.recommendation]).toEqual(['blocked', stopped])
  })

  test('asks nothing of the user where the client goes on', async () => {
    const ws = plain({ strategy: () => 'backoff' })
    await time.advance(10)
    server.link?.end(4403)
    await time.advance(1)
    expect(ws.recommendation).toMatchObject({ detail: 'Reconnecting.', action: 'wait' })
  })
})
