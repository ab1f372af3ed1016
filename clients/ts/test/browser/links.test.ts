// What only a browser does to links: stalls, caches, reloads, tabs, and refusals without a reason.
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { FaultProxy } from '../e2e/lib/proxy.ts'
import { freePort, Server, until } from '../e2e/lib/server.ts'
import { executablePath, launch, site } from './lib/page.ts'
import { peer } from './lib/peer.ts'

let browser: Browser
let context: BrowserContext
let page: Page
let server: Server
let proxy: FaultProxy
let pages: Awaited<ReturnType<typeof site>>
let other: Awaited<ReturnType<typeof peer>>

beforeAll(async () => {
  ;[browser, pages, other, server] = await Promise.all([
    launch({ bfcache: true }),
    site(),
    peer(),
    Server.start({ WEBSOCKET_PING_INTERVAL: '2', WEBSOCKET_PONG_TIMEOUT: '2' }),
  ])
  proxy = await FaultProxy.start(server.port)
})

beforeEach(async () => {
  context = await browser.newContext()
  page = await context.newPage()
  await page.goto(pages.url)
})

afterEach(async () => {
  await context.close()
  proxy.heal()
})

afterAll(async () => {
  await browser?.close()
  pages?.close()
  other?.close()
  await proxy?.stop()
  await server?.end()
})

/** Makes `window.ws`, which logs what comes from `channel` in `window.seen`. */
async function start(on: Page, channel: string, more: object = {}): Promise<void> {
  await on.evaluate(
    ([url, channel, more]) => {
      const w = window as any
      const { store, ...options } = more as any
      w.log = []
      w.seen = []
      w.ws = w.kit.connect(url, {
        minReconnectionDelay: 50,
        maxReconnectionDelay: 200,
        ...options,
        ...(store && { store: w.kit.idbStore(store) }),
      })
      w.ws.on('statechange', ({ current }: any) => w.log.push([current, performance.now()]))
      w.ws.subscribe(channel, {
        from: 'first',
        listener: (delivery: any) => {
          if (delivery.type === 'message') w.seen.push(delivery.data)
        },
      })
    },
    [proxy.url, channel, more] as const,
  )
}

const state = (on: Page) => on.evaluate(() => (window as any).ws.state as string)
const seen = (on: Page) => on.evaluate(() => (window as any).seen as unknown[])
/** What the page's store has: the data of messages, and the positions of channels. */
const kept = (on: Page, store: string) =>
  on.evaluate(async (store) => {
    const result = <T>(request: IDBRequest<T>) =>
      new Promise<T>((resolve, reject) => {
        request.onsuccess = () => resolve(request.result)
        request.onerror = () => reject(request.error)
      })
    const database = await result(indexedDB.open(store))
    const table = database.transaction('kept').objectStore('kept')
    const [keys, values] = await Promise.all([result(table.getAllKeys()), result(table.getAll())])
    database.close()
    const messages: unknown[] = []
    const positions: Record<string, unknown> = {}
    for (const [index, [, kind, name]] of (keys as string[][]).entries()) {
      if (kind === 'message') messages.push(JSON.parse(values[index].item.data))
      if (kind === 'position') positions[name!] = values[index]
    }
    return { messages, positions }
  }, store)
const reach = (on: Page, wanted: string[]) =>
  until(`state ${wanted}`, async () => wanted.includes(await state(on)))

describe.skipIf(!executablePath)('in Chromium', () => {
  test('a stalled link is noticed within 2 s of a hint, and nothing is lost', async () => {
    await start(page, 'stall')
    await reach(page, ['open'])
    await context.setOffline(true)
    const began = Date.now()
    await reach(page, ['offline', 'waiting'])
    expect(Date.now() - began).toBeLessThan(2500)
    await server.publish('stall', 1)
    const stored = page.evaluate(() => (window as any).ws.publish('stall', 2))
    await context.setOffline(false)
    await stored
    await until('both are there', async () => (await seen(page)).length === 2)
    expect(await seen(page)).toEqual([1, 2])
  })

  test('back from the page cache it reconnects', async () => {
    await start(page, 'cache')
    await reach(page, ['open'])
    const restored = page.evaluate(
      () =>
        new Promise((resolve) => {
          addEventListener('pageshow', (event) => {
            ;(window as any).persisted = event.persisted
            resolve(event.persisted)
          })
        }),
    )
    restored.catch(() => {})
    await page.goto(`${pages.url}other`)
    await server.publish('cache', 'meanwhile')
    await page.goBack({ waitUntil: 'commit' })
    await until('the page is back', () => page.evaluate(() => 'ws' in window))
    expect(await page.evaluate(() => (window as any).persisted)).toBe(true)
    await until('it caught up', async () => (await seen(page)).length === 1)
    expect(await seen(page)).toEqual(['meanwhile'])
  })

  test('a reload loses and doubles nothing', async () => {
    await start(page, 'reload', { store: 'reload' })
    await reach(page, ['open'])
    await page.evaluate(() => (window as any).ws.publish('reload', 1))
    await until('it is handled', async () => (await seen(page)).length === 1)
    const before = await page.evaluate(() => (window as any).ws.history('reload'))
    // Written but never acknowledged, and never written at all.
    proxy.hole = true
    await page.evaluate(() => {
      const w = window as any
      w.ws.publish('reload', 2)
      w.ws.publish('reload', 3)
    })
    // The position is saved a moment after the handler.
    await until('all is kept', async () => {
      const { messages, positions } = await kept(page, 'reload')
      return `${messages}` === '2,3' && positions.reload === before.publications[0].position
    })
    await page.reload()
    proxy.cut()
    proxy.hole = false
    await start(page, 'reload', { store: 'reload' })
    await until('the rest is there', async () => (await seen(page)).length >= 2)
    expect(await seen(page)).toEqual([2, 3])
    await until('all is acknowledged', () =>
      page.evaluate(() => (window as any).ws.outboxLength === 0),
    )
    const history = await page.evaluate(() => (window as any).ws.history('reload'))
    expect(history.publications.map(({ data }: any) => data)).toEqual([1, 2, 3])
  })

  test('two tabs with one store have sessions of their own', async () => {
    const second = await context.newPage()
    await second.goto(pages.url)
    for (const tab of [page, second]) await start(tab, 'tabs', { store: 'tabs' })
    for (const tab of [page, second]) await reach(tab, ['open'])
    const sessions = await Promise.all(
      [page, second].map((tab) => tab.evaluate(() => (window as any).ws.session)),
    )
    expect(sessions[0]).not.toBe(sessions[1])
    await page.evaluate(() => (window as any).ws.publish('tabs', 'a'))
    await second.evaluate(() => (window as any).ws.publish('tabs', 'b'))
    for (const tab of [page, second]) {
      await until('both are there', async () => (await seen(tab)).length === 2)
    }
  })

  test('a duplicated tab takes a session of its own, and leaves the first its messages', async () => {
    await start(page, 'twin', { store: 'twin' })
    await reach(page, ['open'])
    proxy.hole = true
    await page.evaluate(() => {
      const w = window as any
      w.ws.publish('twin', 'unsent')
    })
    await until('it is kept', async () => `${(await kept(page, 'twin')).messages}` === 'unsent')
    // The copy gets what the tab had in sessionStorage, its place in the store included.
    const opened = context.waitForEvent('page')
    await page.evaluate(() => window.open(location.href))
    const twin = await opened
    await until('the copy is there', () => twin.evaluate(() => 'kit' in window))
    expect(await twin.evaluate(() => sessionStorage.length)).toBeGreaterThan(0)
    proxy.cut()
    proxy.hole = false
    await start(twin, 'twin', { store: 'twin' })
    for (const tab of [page, twin]) await reach(tab, ['open'])
    const sessions = await Promise.all(
      [page, twin].map((tab) => tab.evaluate(() => (window as any).ws.session)),
    )
    expect(sessions[0]).not.toBe(sessions[1])
    for (const tab of [page, twin]) {
      await until('it is there', async () => (await seen(tab)).length === 1)
      expect(await seen(tab)).toEqual(['unsent'])
    }
  })

  test.each([
    ['/status/401', 'auth', 'blocked', 'login'],
    ['/status/403', 'policy', 'blocked', 'contact'],
    ['/status/429', 'rate_limit', 'waiting', 'wait'],
    ['/status/503', 'server', 'waiting', 'wait'],
    ['/status/426', 'network', 'waiting', 'wait'],
  ])('a refusal of %s is told as %s', async (path, expected, finally_, action) => {
    const found = await page.evaluate(
      async ([url, finally_, expected]) => {
        const w = window as any
        const ws = new w.kit.ResilientWebSocket(url, [], {
          minReconnectionDelay: 10,
          maxReconnectionDelay: 50,
          catalogue: w.kit.russian,
        })
        const deadline = performance.now() + 8000
        for (;;) {
          const classes = Object.keys(ws.statistics.classes)
          const settled = ws.state === finally_ && ws.statistics.classes[expected] > 0
          if (settled || performance.now() > deadline) {
            return { classes, state: ws.state, recommendation: ws.recommendation }
          }
          await new Promise((resolve) => setTimeout(resolve, 1))
        }
      },
      [other.url + path, finally_, expected] as const,
    )
    expect(found.classes).toContain(expected)
    expect(found.state).toBe(finally_)
    expect(found.recommendation.action).toBe(action)
    expect(found.recommendation.title).toMatch(/[а-я]/)
  })

  test('nobody there is network, and HTTP without WebSocket is protocol', async () => {
    const classesOf = (url: string) =>
      page.evaluate(async (url) => {
        const w = window as any
        const options = { minReconnectionDelay: 10, maxReconnectionDelay: 50 }
        const ws = new w.kit.ResilientWebSocket(url, [], options)
        const evidence: string[] = []
        ws.on('error', (event: any) => evidence.push(event.evidence?.kind))
        while (evidence.length < 2) await new Promise((resolve) => setTimeout(resolve, 5))
        ws.close()
        return evidence
      }, url)
    const nobody = `ws://127.0.0.1:${await freePort()}/`
    expect(await classesOf(nobody)).toEqual(['opaque', 'unreachable'])
    expect(await classesOf(`${other.url}/status/200`)).toEqual(['opaque', 'not_websocket'])
  })

  test('the element tells, and the button acts', async () => {
    await page.evaluate(
      (url) => {
        const w = window as any
        w.kit.define()
        w.element = document.body.appendChild(document.createElement('connection-status'))
        w.element.socket = w.ws = w.kit.connect(url, {
          minReconnectionDelay: 5,
          maxReconnectionDelay: 5,
          maxReconnectAttempts: 1,
        })
      },
      `ws://127.0.0.1:${await freePort()}/`,
    )
    await reach(page, ['dormant'])
    const status = page.locator('connection-status')
    expect(await status.getAttribute('state')).toBe('dormant')
    expect(await status.locator('[role=status]').textContent()).toContain('Still not connected')
    const chosen = page.evaluate(
      () =>
        new Promise((resolve) => {
          ;(window as any).element.addEventListener('action', (event: any) => resolve(event.detail))
        }),
    )
    await status.locator('button').click()
    expect(await chosen).toBe('retry')
  })

  test('hooks work under StrictMode and leave nothing behind', async () => {
    await page.evaluate((url) => (window as any).kit.mount(url), proxy.url)
    const text = (id: string) => page.locator(`#${id}`).textContent()
    await until('it is open', async () => ['open', 'probing'].includes((await text('state')) ?? ''))
    await until('it is subscribed', () =>
      page.evaluate(() => (window as any).kit.made.at(-1).state === 'open'),
    )
    for (const data of [1, 2, 3, 4]) {
      await page.evaluate((data) => (window as any).kit.made.at(-1).publish('react', data), data)
    }
    await until('they are shown', async () => (await text('messages')) === '2,3,4')
    await page.locator('#toggle').click()
    await until('all are closed', () =>
      page.evaluate(() => (window as any).kit.made.every((ws: any) => ws.readyState === 3)),
    )
    expect(await page.evaluate(() => (window as any).kit.made.length)).toBe(2)
  })
})
