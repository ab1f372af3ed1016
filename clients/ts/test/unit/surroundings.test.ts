// What a client finds around it: a bare runtime, Node, or parts that a test hands in.
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { fileURLToPath } from 'node:url'
import vm from 'node:vm'
import { build } from 'esbuild'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { WebSocket as NodeWebSocket, WebSocketServer } from 'ws'
import { Backoff } from '../../src/backoff/backoff.ts'
import { Rng } from '../../src/backoff/rng.ts'
import { classify, strategyOf } from '../../src/classify/classify.ts'
import { codeRow } from '../../src/codes/codes.ts'
import { CODE_TABLE } from '../../src/codes/table.ts'
import { detectEnvironment } from '../../src/environment/environment.ts'
import { platformHints } from '../../src/environment/hints.ts'
import { Health } from '../../src/health/health.ts'
import { RUSSIAN_CODES } from '../../src/recommendation/ru.ts'
import { dialerOptions } from '../../src/socket/options.ts'

afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

describe('a runtime with nothing but WebSocket, timers, fetch and URL', () => {
  test('runs the client', async () => {
    const { outputFiles } = await build({
      entryPoints: [fileURLToPath(new URL('../../src/index.ts', import.meta.url))],
      bundle: true,
      format: 'iife',
      globalName: 'bowline',
      target: 'es2022',
      write: false,
    })
    const http = createServer()
    const sockets = new WebSocketServer({ server: http })
    sockets.on('connection', (ws) => ws.on('message', (data) => ws.send(`echo ${data}`)))
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
    const { port } = http.address() as { port: number }
    const uncaught: unknown[] = []
    const context = vm.createContext({
      WebSocket: NodeWebSocket,
      setTimeout: (call: () => void, ms: number) =>
        setTimeout(() => {
          try {
            call()
          } catch (error) {
            uncaught.push((error as Error).message)
          }
        }, ms),
      clearTimeout,
      setInterval,
      clearInterval,
      fetch,
      URL,
    })
    const log = (await vm.runInContext(
      `${outputFiles[0]!.text}
      new Promise((resolve) => {
        const log = []
        const ws = new bowline.ResilientWebSocket('ws://127.0.0.1:${port}/')
        ws.onopen = () => { log.push('open'); ws.send('größe') }
        ws.onmessage = (event) => {
          log.push(String(event.data), event.target === ws)
          ws.close(1000)
        }
        ws.addEventListener('message', () => { throw new Error('a mistake') })
        const removed = () => log.push('removed')
        ws.addEventListener('close', removed)
        ws.removeEventListener('close', removed)
        ws.addEventListener('close', { handleEvent: (event) => { log.push(event.type, event.code) } }, { once: true })
        ws.addEventListener('close', () => resolve(log))
      })`,
      context,
    )) as unknown[]
    expect(log).toEqual(['open', 'echo größe', true, 'close', 1000])
    expect(uncaught).toEqual(['a mistake'])
    sockets.close()
    http.closeAllConnections()
    http.close()
  })
})

describe('hints', () => {
  test('a clock that jumps is sleep', () => {
    vi.useFakeTimers()
    const hints: string[] = []
    const stop = platformHints((hint) => hints.push(hint))
    vi.advanceTimersByTime(20_000)
    expect(hints).toEqual([])
    vi.setSystemTime(Date.now() + 60_000)
    vi.advanceTimersByTime(5000)
    expect(hints).toEqual(['wake'])
    stop()
    vi.setSystemTime(Date.now() + 60_000)
    vi.advanceTimersByTime(5000)
    expect(hints).toEqual(['wake'])
  })

  test('pages and networks are listened to', () => {
    const document = Object.assign(new EventTarget(), { visibilityState: 'hidden' })
    const connection = new EventTarget()
    const page = new EventTarget()
    vi.stubGlobal('document', document)
    vi.stubGlobal('navigator', { connection })
    vi.stubGlobal('addEventListener', page.addEventListener.bind(page))
    vi.stubGlobal('removeEventListener', page.removeEventListener.bind(page))
    const hints: string[] = []
    const stop = platformHints((hint) => hints.push(hint))
    document.visibilityState = 'visible'
    document.dispatchEvent(new Event('visibilitychange'))
    document.dispatchEvent(new Event('resume'))
    connection.dispatchEvent(new Event('change'))
    for (const type of ['offline', 'online', 'focus', 'pagehide', 'pageshow'])
      page.dispatchEvent(new Event(type))
    for (const type of ['pagehide', 'pageshow'])
      page.dispatchEvent(Object.assign(new Event(type), { persisted: true }))
    const told = [
      'hidden',
      'visible',
      'wake',
      'network_change',
      'offline',
      'online',
      'wake',
      'frozen',
      'thawed',
    ]
    expect(hints).toEqual(told)
    stop()
    page.dispatchEvent(new Event('online'))
    expect(hints).toEqual(told)
  })
})

describe('the environment', () => {
  test('is made of the globals, and its time never falls', () => {
    const environment = detectEnvironment()
    const first = environment.now()
    vi.spyOn(performance, 'now').mockReturnValue(0)
    expect(environment.now()).toBeGreaterThanOrEqual(first)
    expect(environment.randomBytes?.(16)).toHaveLength(16)
    expect(environment.wallMs()).toBeGreaterThan(1e12)
  })
})

describe('the decisions', () => {
  const classOf = (code: string) => codeRow(code)?.[0]

  test('every named closure has its row’s class', () => {
    for (const [code, [class_]] of Object.entries(CODE_TABLE)) {
      const reason = JSON.stringify({ code, retry_after_ms: 7 })
      const found = classify({ kind: 'close', code: 4400, reason }, classOf)
      expect(found).toEqual({ class: class_, confidence: 'certain', code, retry_after_ms: 7 })
    }
  })

  test('closures and statuses without a name are judged by their number', () => {
    const close = (code: number, reason = '') =>
      classify({ kind: 'close', code, reason }, classOf).class
    expect(
      [
        1000, 1001, 1006, 1008, 1009, 1011, 3000, 4400, 4401, 4403, 4408, 4413, 4429, 4500, 4503,
      ].map((code) => close(code)),
    ).toEqual([
      'server',
      'server',
      'network',
      'policy',
      'protocol',
      'server',
      'network',
      'protocol',
      'auth',
      'policy',
      'timeout',
      'policy',
      'rate_limit',
      'server',
      'server',
    ])
    const http = (status: number) => classify({ kind: 'http', status }, classOf).class
    expect([302, 401, 403, 404, 408, 429, 500, 503, 504].map(http)).toEqual([
      'network',
      'auth',
      'policy',
      'protocol',
      'timeout',
      'rate_limit',
      'server',
      'server',
      'timeout',
    ])
    expect(
      classify({ kind: 'close', code: 4503, reason: '{"code":"new","retry_after_ms":5}' }, classOf),
    ).toEqual({ class: 'server', confidence: 'likely', code: 'new', retry_after_ms: 5 })
    for (const reason of ['', 'x', 'null', '[]', '{"retry_after_ms":-1}', '{"code":7}']) {
      expect(classify({ kind: 'close', code: 4429, reason }, classOf)).toEqual({
        class: 'rate_limit',
        confidence: 'likely',
      })
    }
    expect(classify({ kind: 'tls' }, classOf).class).toBe('network')
    expect(classify({ kind: 'token', retry: false }, classOf)).toEqual({
      class: 'auth',
      confidence: 'certain',
    })
  })

  test('strategies', () => {
    expect(strategyOf({ class: 'auth', confidence: 'likely' })).toBe('new_token')
    expect(strategyOf({ class: 'policy', confidence: 'likely' })).toBe('block')
    expect(strategyOf({ class: 'protocol', confidence: 'likely' })).toBe('backoff')
    expect(strategyOf({ class: 'protocol', confidence: 'certain' })).toBe('block')
  })

  test('the first retry is fully jittered, delays grow, advice comes first', () => {
    const draws = (failures: number, advice?: number) =>
      Array.from({ length: 300 }, (_, seed) => {
        const backoff = new Backoff(dialerOptions({}))
        const rng = new Rng(seed)
        for (let i = 0; i < failures; i++) backoff.failed(0, undefined, rng)
        return backoff.failed(0, advice, rng)
      })
    const first = draws(0)
    expect(Math.min(...first)).toBeLessThan(50)
    expect(Math.max(...first)).toBeGreaterThan(950)
    expect(Math.max(...first)).toBeLessThanOrEqual(1000)
    expect(Math.max(...draws(4))).toBeGreaterThan(16_000)
    expect(Math.max(...draws(50))).toBeLessThanOrEqual(30_000)
    expect(Math.min(...draws(0, 60_000))).toBeGreaterThanOrEqual(60_000)
    expect(Math.max(...draws(0, 60_000))).toBeLessThanOrEqual(76_001)
    expect(Math.max(...draws(0, Number.MAX_SAFE_INTEGER))).toBeLessThanOrEqual(751_000)
  })

  test('only uptime or an ack begins anew', () => {
    const backoff = new Backoff(dialerOptions({}))
    const rng = new Rng(1)
    for (let i = 0; i < 3; i++) backoff.failed(0, undefined, rng)
    backoff.opened(0)
    backoff.failed(9_999_000, undefined, rng)
    expect(backoff.failures).toBe(4)
    backoff.opened(0)
    backoff.failed(10_000_000, undefined, rng)
    expect(backoff.failures).toBe(1)
    backoff.proved()
    expect(backoff.failures).toBe(0)
  })

  test('round trips are smoothed as RFC 6298 says, and each trouble lowers the level', () => {
    const measured = (...samples: number[]) => {
      const health = new Health()
      for (const ms of samples) health.measured(ms * 1000)
      return health
    }
    expect(measured(100, 200).rttUs).toBe(112_500)
    expect(measured(100, 200).probeTimeoutUs(10_000_000)).toBe(800_000)
    expect(measured(2000).probeTimeoutUs(10_000_000)).toBe(6_000_000)
    expect(new Health().probeTimeoutUs(10_000_000)).toBe(10_000_000)
    const levels = [5, 150, 400, 1500].map((ms) => measured(ms).level(0))
    expect(levels).toEqual(['excellent', 'good', 'fair', 'poor'])
    expect(new Health().level(0)).toBe('good')
    expect(measured(5).level(300)).toBe('fair')
    const silent = measured(5)
    silent.missedProbes = 1
    expect(silent.level(0)).toBe('poor')
    silent.missedProbes = 2
    expect(silent.level(0)).toBe('dead')
  })

  test('the numbers of the generator are those of the reference', () => {
    const zero = new Rng(0)
    expect([zero.next(), zero.next(), new Rng(1).next()]).toEqual([
      1_144_304_738, 1_416_247, 2_693_262_067,
    ])
    expect(new Rng(1).below(0)).toBe(0)
  })

  test('every code has a Russian sentence', () => {
    const url = new URL('../../../../vectors/codes.json', import.meta.url)
    const codes = JSON.parse(readFileSync(url, 'utf8')).map(({ code }: { code: string }) => code)
    expect(Object.keys(RUSSIAN_CODES).sort()).toEqual(codes.sort())
  })
})
