// One page that publishes and reads, a real server, and everything that may break in between. The
// checker looks at what the page's handlers saw and at what the server keeps: nothing lost, doubled
// or reordered.
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { FaultProxy } from '../e2e/lib/proxy.ts'
import { Server, until } from '../e2e/lib/server.ts'
import { RawPage } from './lib/cdp.ts'
import { executablePath, launch, site } from './lib/page.ts'

let browser: Browser
let context: BrowserContext
let page: Page
let server: Server
let proxy: FaultProxy
/** A server whose heartbeat notices nothing in the time of a test, and a path to it. */
let patient: Server
let calm: FaultProxy
let pages: Awaited<ReturnType<typeof site>>

beforeAll(async () => {
  ;[browser, pages, server, patient] = await Promise.all([
    launch(),
    site(),
    Server.start({ WEBSOCKET_PING_INTERVAL: '2', WEBSOCKET_PONG_TIMEOUT: '2' }),
    Server.start({ WEBSOCKET_PING_INTERVAL: '30', WEBSOCKET_PONG_TIMEOUT: '10' }),
  ])
  proxy = await FaultProxy.start(server.port)
  calm = await FaultProxy.start(patient.port)
})

beforeEach(async () => {
  context = await browser.newContext()
  page = await context.newPage()
  await page.goto(pages.url)
})

afterEach(async () => {
  await context.close()
  for (const path of [proxy, calm]) path.heal()
})

afterAll(async () => {
  await browser?.close()
  pages?.close()
  for (const path of [proxy, calm]) await path?.stop()
  for (const each of [server, patient]) await each?.end()
})

/** In the page: publishes a number every 10 ms and follows the channel, until told to stop. */
const WORKLOAD = `(url, channel) => {
  const ws = kit.connect(url, { minReconnectionDelay: 20, maxReconnectionDelay: 200 })
  const play = { ws, seen: [], acked: [], dropped: [], gaps: 0, lost: 0, next: 0 }
  ws.subscribe(channel, { from: 'first', listener: (d) => { if (d.type === 'message') play.seen.push(d.data) } })
  ws.on('gap', () => play.gaps++)
  ws.on('lostconnection', ({ status }) => { if (status === 'lost') play.lost++ })
  const timer = setInterval(() => {
    const n = play.next++
    ws.publish(channel, n).then(() => play.acked.push(n), ({ fate }) => play.dropped.push([n, fate]))
  }, 10)
  play.stop = () => clearInterval(timer)
  window.play = play
}`

interface Play {
  seen: number[]
  acked: number[]
  dropped: unknown[]
  gaps: number
  lost: number
  next: number
}

const start = (channel: string, path = proxy) =>
  page.evaluate(`(${WORKLOAD})(${JSON.stringify(path.url)}, ${JSON.stringify(channel)})`)

const play = () =>
  page.evaluate(() => {
    const { seen, acked, dropped, gaps, lost, next } = (window as any).play
    return { seen, acked, dropped, gaps, lost, next } as Play
  })

const moves = async (what: string) => {
  const { acked } = await play()
  await until(
    `acks go on: ${what}`,
    async () => (await play()).acked.length > acked.length + 5,
    20_000,
  )
}

/** Stops the workload, waits until all is settled, and judges. */
async function judge(channel: string, keeper = server): Promise<void> {
  await page.evaluate(() => (window as any).play.stop())
  await until('all is settled', async () => {
    const { acked, dropped, seen, next } = await play()
    return acked.length + dropped.length === next && seen.length >= acked.length
  })
  const { acked, dropped, seen, gaps, lost, next } = await play()
  const all = Array.from({ length: next }, (_, n) => n)
  expect({ dropped, gaps }).toEqual({ dropped: [], gaps: 0 })
  expect([...acked].sort((a, b) => a - b)).toEqual(all)
  expect(seen).toEqual(all)
  expect(lost).toBeGreaterThan(0)
  const kept: number[] = []
  for (let after: string | undefined; ; ) {
    const query = new URLSearchParams({ limit: '500', ...(after && { after }) })
    const answer = await fetch(`${keeper.http}/api/channels/${channel}/history?${query}`)
    const { publications } = (await answer.json()) as any
    const fresh = publications.filter(({ data }: any) => data > (kept.at(-1) ?? -1))
    if (!fresh.length) break
    kept.push(...fresh.map(({ data }: any) => data))
    after = fresh.at(-1).position
  }
  if (kept[0] === 0) expect(kept).toEqual(all)
  else expect(all.slice(-kept.length)).toEqual(kept)
}

describe.skipIf(!executablePath)('a page that publishes and reads', () => {
  test.each([
    ['fin', () => proxy.cut()],
    ['rst', () => proxy.cut(true)],
  ])('outlives %s, five times', async (name, strike) => {
    await start(name)
    for (let i = 0; i < 5; i++) {
      await moves(name)
      strike()
    }
    await moves('the last')
    await judge(name)
  })

  test('outlives a black hole that swallows what was written', async () => {
    await start('hole')
    await moves('before')
    proxy.hole = true
    await until('it is noticed', async () => (await play()).lost === 1)
    proxy.cut()
    proxy.hole = false
    await moves('after')
    await judge('hole')
  })

  test('outlives a zombie: sockets stall while they stay open', async () => {
    await start('zombie', calm)
    await moves('before')
    await context.setOffline(true)
    // Long before the heartbeat (30 s and 10 s) would notice, and before a message after 10 s of silence
    // would; how soon is for the benchmark to say.
    await until('it is noticed', async () => (await play()).lost === 1, 8000)
    await context.setOffline(false)
    await moves('after')
    await judge('zombie', patient)
  })

  test('outlives kill -9 of the server, twice', async () => {
    await start('kill')
    for (let i = 0; i < 2; i++) {
      await moves('before')
      await server.down('SIGKILL')
      await server.up()
    }
    await moves('after')
    await judge('kill')
  })

  test('outlives sleep: the process stops, its clock jumps, the link is dead', async () => {
    await start('sleep', calm)
    await moves('before')
    const cdp = await browser.newBrowserCDPSession()
    const { processInfo } = await cdp.send('SystemInfo.getProcessInfo')
    const renderers = processInfo.filter(({ type }) => type === 'renderer').map(({ id }) => id)
    for (const pid of renderers) process.kill(pid, 'SIGSTOP')
    // The path forgets the link, as a NAT does; nobody tells the page but its clock.
    calm.hole = true
    await new Promise((resolve) => setTimeout(resolve, 12_000))
    for (const pid of renderers) process.kill(pid, 'SIGCONT')
    await until('the dead link is noticed', async () => (await play()).lost === 1)
    calm.cut()
    calm.hole = false
    await moves('after')
    await judge('sleep', patient)
  })

  test('outlives a drain', async () => {
    await start('drain')
    await moves('before')
    const gone = server.down('SIGTERM')
    await gone
    await server.up()
    await moves('after')
    await judge('drain')
  })

  test('is frozen, and comes back with everything', async () => {
    const raw = await RawPage.open(pages.url)
    try {
      await until('the kit is there', () => raw.evaluate(`typeof kit === 'object'`))
      await raw.evaluate(`(${WORKLOAD})(${JSON.stringify(proxy.url)}, 'frozen'); 0`)
      const count = (of: string): Promise<number> => raw.evaluate(`play.${of}`)
      await until('it plays', async () => (await count('acked.length')) > 20)
      await raw.send('Page.enable')
      await raw.send('Page.setWebLifecycleState', { state: 'frozen' })
      // Its timers stand still: that is what frozen means.
      const before = await count('next')
      await new Promise((resolve) => setTimeout(resolve, 1000))
      expect(await count('next')).toBeLessThanOrEqual(before + 1)
      proxy.cut()
      await server.publish('frozen', -1)
      await raw.send('Page.setWebLifecycleState', { state: 'active' })
      // A page that runs again but is hidden dials seldom; the user looks at it.
      expect(await raw.evaluate('document.visibilityState')).toBe('hidden')
      await raw.send('Emulation.setFocusEmulationEnabled', { enabled: true })
      await raw.send('Page.bringToFront')
      await until('it heard of what it missed', () => raw.evaluate('play.seen.includes(-1)'))
      await raw.evaluate('play.stop(); 0')
      await until('all is settled', () => raw.evaluate('play.acked.length === play.next'))
      const all = Array.from({ length: await count('next') }, (_, n) => n)
      await until('all is seen', async () => (await count('seen.length')) === all.length + 1)
      expect(await raw.evaluate('play.seen.filter((n) => n >= 0)')).toEqual(all)
    } finally {
      await raw.close()
    }
  })
})
