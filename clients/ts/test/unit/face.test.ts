// The face, as of a WebSocket, on a scripted server in virtual time.
import { beforeEach, describe, expect, test } from 'vitest'
import { ResilientWebSocket as PlainWebSocket } from '../../src/plain.ts'
import { ADDRESS, begin, ends, logOf, plain, server, time } from './lib/scripted.ts'

beforeEach(begin)

describe('the face', () => {
  test('is assignable to WebSocket', () => {
    const ws: WebSocket = plain({ startClosed: true })
    expect(ws.readyState).toBe(3)
    expect([ws.url, ws.protocol, ws.extensions, ws.bufferedAmount]).toEqual([ADDRESS, '', '', 0])
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

  test('what is sent in a listener that hears of the link comes behind what waits', async () => {
    const ws = plain({ maxEnqueuedMessages: 2 })
    const found = ends([ws.send('1'), ws.send('2')])
    ws.on('statechange', ({ current }) => current === 'open' && found.push(...ends([ws.send('3')])))
    ws.on('open', () => void ws.send('4'))
    await time.advance(1)
    const written = server.link?.received.map(({ raw }) => raw)
    expect(written).toEqual(['1', '2', '3', '4'])
    expect([found.slice(0, 2), ws.bufferedAmount]).toEqual([['done', 'done'], 0])
  })

  test('bytes that wait are those of the call, whatever becomes of their buffer', async () => {
    const ws = plain()
    const bytes = Uint8Array.of(1, 2, 3, 4)
    ws.send(bytes.subarray(1, 3))
    ws.send(bytes.buffer)
    bytes.fill(9)
    expect(ws.bufferedAmount).toBe(6)
    await time.advance(1)
    const written = server.link?.received.map(({ raw }) => [...new Uint8Array(raw as ArrayBuffer)])
    expect(written).toEqual([
      [2, 3],
      [1, 2, 3, 4],
    ])
  })

  test('what is sent while the link closes waits for the next one', async () => {
    const ws = plain()
    await time.advance(1)
    // The peer has said goodbye, and the platform has not told yet.
    server.link!.readyState = 2
    const found = ends([ws.send('kept')])
    await time.advance(1)
    expect([found, ws.bufferedAmount]).toEqual([[undefined], 4])
    server.link?.end(1001, '', true)
    await time.advance(2000)
    expect(found).toEqual(['done'])
    expect(server.link?.received).toEqual([{ raw: 'kept' }])
  })

  test('what waits is not written to a link that was closed when it opened', async () => {
    const ws = plain()
    const found = ends([ws.send('late')])
    ws.on('statechange', ({ current }) => current === 'open' && ws.close())
    await time.advance(2000)
    expect(found).toEqual([expect.objectContaining({ code: 'closed', fate: 'refused' })])
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
    for (const url of ['nonsense', 'ftp://x/', 'ws://test/#', 'ws://test/?a#b', null, 5]) {
      expect(() => plain({}, url as never), `${url}`).toThrow(
        expect.objectContaining({ name: 'SyntaxError' }),
      )
    }
  })

  test.each([
    ['3001', null, 3001, 'null'],
    [1000, 5, 1000, '5'],
  ])('code and reason are converted as by a WebSocket: %j, %j', async (code, reason, ...heard) => {
    const ws = plain()
    await time.advance(1)
    const closes: unknown[] = []
    ws.onclose = (event) => closes.push(event.code, event.reason)
    expect(() => ws.close(1000n as never)).toThrow(TypeError)
    for (const none of [null, 0, '', 'abc', Number.NaN, {}]) {
      expect(() => ws.close(none as never), `${none}`).toThrow(
        expect.objectContaining({ name: 'InvalidAccessError' }),
      )
    }
    expect(() => ws.close(1000, Symbol('no') as never)).toThrow(TypeError)
    ws.close(code as never, reason as never)
    await time.advance(10)
    expect(closes).toEqual(heard)
  })

  test.each([
    [['a b']],
    [['']],
    [''],
    [['a,b']],
    [['ü']],
    [['"']],
    [['a', 'A']],
    [['a', 'b', 'a']],
  ])(
    'protocols that are no tokens, or come twice, are refused as by a WebSocket: %j',
    (protocols) => {
      const environment = time.environment(server)
      expect(() => new PlainWebSocket(ADDRESS, protocols, { environment })).toThrow(
        expect.objectContaining({ name: 'SyntaxError' }),
      )
    },
  )

  test('protocols that are tokens are offered as they are', async () => {
    const protocols = ["!#$%&'*+-.^_`|~", 'Chat', 'chat2']
    new PlainWebSocket(ADDRESS, protocols, { environment: time.environment(server) })
    await time.advance(1)
    expect(server.link?.protocols).toEqual(protocols)
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
    const ws = plain({}, source)
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
