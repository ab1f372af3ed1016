// Where platforms differ from browsers: events without `EventTarget`, handshakes that fail without a
// word, timers of a page that nobody sees.
import { afterEach, describe, expect, test, vi } from 'vitest'
import { platformHints } from '../../src/environment/hints.ts'
import { connect } from '../../src/index.ts'
import { ResilientWebSocket as PlainWebSocket } from '../../src/plain.ts'
import { ScriptedServer, VirtualTime } from '../../src/testing.ts'
import { NativeURL } from './lib/native-url.mjs'

afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
  vi.resetModules()
})

describe('without EventTarget', () => {
  test('listeners are called in order, once where asked, and outlive the mistakes of others', async () => {
    vi.useFakeTimers()
    vi.resetModules()
    for (const name of ['EventTarget', 'Event', 'MessageEvent', 'CloseEvent']) {
      vi.stubGlobal(name, undefined)
    }
    const { defineHandler, makeEvent, Target } = await import('../../src/events/target.ts')
    class WithHandler extends Target {
      declare onx: unknown
    }
    defineHandler(WithHandler.prototype, 'x')
    const target = new WithHandler()
    const log: unknown[] = []
    const removed = () => log.push('removed')
    target.addEventListener('x', () => log.push('first'), { once: true })
    target.addEventListener('x', () => {
      throw new Error('a mistake')
    })
    target.onx = (event: Event) => log.push(['handler', event.target === target])
    target.addEventListener('x', removed)
    target.addEventListener('x', removed)
    target.removeEventListener('x', removed)
    target.removeEventListener('y', removed)
    target.addEventListener('x', null)
    target.addEventListener('x', { handleEvent: ({ type }: Event) => log.push(type) })
    target.dispatchEvent(makeEvent('x', { more: 1 }))
    expect(log).toEqual(['first', ['handler', true], 'x'])
    expect(() => vi.runAllTimers()).toThrow('a mistake')
    target.onx = 'no function'
    expect(target.onx).toBeNull()
    expect(makeEvent('message', { data: 7 })).toMatchObject({ type: 'message', data: 7 })
    log.length = 0
    target.dispatchEvent(makeEvent('x'))
    expect(log).toEqual(['x'])
  })
})

describe('a handshake that fails', () => {
  test('with an error and no close is tried again', async () => {
    const time = new VirtualTime()
    const server = new ScriptedServer()
    let dials = 0
    class Silent {
      readyState = 0
      onerror: (() => void) | undefined
      constructor() {
        dials++
        void Promise.resolve().then(() => this.onerror?.())
      }
      close() {}
    }
    const environment = { ...time.environment(server), WebSocket: Silent as never }
    const ws = connect('ws://test/ws', { seed: 1, environment })
    await time.advance(5)
    expect(ws.state).toBe('waiting')
    await time.advance(5000)
    expect(dials).toBeGreaterThan(1)
  })

  test('on an open link an error alone ends nothing', async () => {
    const time = new VirtualTime()
    const server = new ScriptedServer()
    const ws = connect('ws://test/ws', { seed: 1, environment: time.environment(server) })
    await time.advance(1)
    server.link?.onerror?.(new Event('error'))
    await time.advance(10)
    expect(ws.state).toBe('open')
  })
})

describe('gaps', () => {
  const told = async (gap: object) => {
    const time = new VirtualTime()
    const server = new ScriptedServer()
    const ws = connect('ws://test/ws', { seed: 1, environment: time.environment(server) })
    const gaps: unknown[] = []
    ws.on('gap', ({ reason }) => gaps.push(reason))
    ws.subscribe('a', { listener() {} })
    await time.advance(1)
    for (const data of [1, 2]) server.publish('a', data)
    server.link?.say({ type: 'gap', channel: 'a', ...gap })
    return gaps
  }

  test('of a log that was rewound are told behind the cursor too; of retention they are not', async () => {
    const position = '00000000000000aa.1.00000001'
    expect(await told({ reason: 'rewound', position })).toEqual(['rewound'])
    expect(await told({ reason: 'expired', position })).toEqual([])
  })
})

describe('advice to connect elsewhere', () => {
  test.each([
    ['wss://test/other', 'wss://test/other'],
    ['ws://test/other', 'wss://test/ws'],
    ['wss://foreign/ws', 'wss://test/ws'],
    ['wss://friend/ws', 'wss://friend/ws'],
    ['wss://FRIEND:8443', 'wss://FRIEND:8443'],
    ['wss://test\\@foreign/ws', 'wss://test/ws'],
    ['wss://test:1@foreign/ws', 'wss://test/ws'],
    ['https://test/other', 'wss://test/ws'],
  ])('%s is followed only where the token may go', async (url, expected) => {
    const time = new VirtualTime()
    const server = new ScriptedServer()
    const environment = time.environment(server)
    connect('wss://test/ws', { seed: 1, allowHosts: ['friend'], environment })
    await time.advance(1)
    server.link?.say({ type: 'reconnect', after_ms: 5, reason: 'rebalance', url })
    await time.advance(20)
    expect(server.dialled.map((link) => link.url)).toEqual(['wss://test/ws', expected])
  })
})

describe('React Native’s own URL', () => {
  test.each([
    ['wss://test/ws', 'wss://test/ws', 'wss://test'],
    ['https://test:8443/ws?a=b', 'wss://test:8443/ws?a=b', 'wss://test:8443'],
    ['ws://user:word@test?a=/@', 'ws://user:word@test?a=/@', 'ws://test'],
    ['ws://test', 'ws://test/', 'ws://test'],
  ])('changes no address: %s', async (url, dialled, origin) => {
    vi.stubGlobal('URL', NativeURL)
    vi.stubGlobal('location', { href: 'http://localhost:8081' })
    const time = new VirtualTime()
    const server = new ScriptedServer()
    const ws = new PlainWebSocket(url, [], { environment: time.environment(server) })
    const seen: unknown[] = []
    ws.onmessage = ({ data, origin }) => seen.push([data, origin])
    await time.advance(1)
    server.link?.onmessage?.({ data: 'hello' })
    expect([ws.url, server.link?.url, seen]).toEqual([dialled, dialled, [['hello', origin]]])
    expect(() => new PlainWebSocket('ftp://test/')).toThrow(
      expect.objectContaining({ name: 'SyntaxError' }),
    )
  })

  test('does not keep a client from going where it is sent', async () => {
    vi.stubGlobal('URL', NativeURL)
    const time = new VirtualTime()
    const server = new ScriptedServer()
    connect('wss://test/ws', { seed: 1, environment: time.environment(server) })
    await time.advance(1)
    const url = 'wss://test:8443/other'
    server.link?.say({ type: 'reconnect', after_ms: 5, reason: 'rebalance', url })
    await time.advance(20)
    expect(server.dialled.map((link) => link.url)).toEqual(['wss://test/ws', url])
  })
})

describe('a clock that jumps', () => {
  test.each([
    ['visible', ['wake']],
    ['hidden', ['hidden']],
  ])('means sleep, but for the throttled timers of a hidden page: %s', (state, expected) => {
    vi.useFakeTimers()
    const document = Object.assign(new EventTarget(), { visibilityState: state })
    vi.stubGlobal('document', document)
    const hints: string[] = []
    const stop = platformHints((hint) => hints.push(hint))
    vi.advanceTimersByTime(5000)
    vi.setSystemTime(Date.now() + 60_000)
    vi.advanceTimersByTime(5000)
    expect(hints).toEqual(expected)
    stop()
    vi.setSystemTime(Date.now() + 60_000)
    vi.advanceTimersByTime(50_000)
    expect(hints).toEqual(expected)
  })
})
