// The same scenarios on the native WebSocket and on ours, in one page: equal logs of events.

import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freePort } from '../e2e/lib/server.ts'
import { executablePath, launch, site } from './lib/page.ts'
import { peer } from './lib/peer.ts'
import { scenarios } from './scenarios.ts'

let browser: Browser
let page: Page
let pages: Awaited<ReturnType<typeof site>>
let other: Awaited<ReturnType<typeof peer>>
let nobody: string

beforeAll(async () => {
  ;[browser, pages, other] = await Promise.all([launch(), site(), peer()])
  nobody = `ws://127.0.0.1:${await freePort()}`
  page = await browser.newPage()
  await page.goto(pages.url)
})

afterAll(async () => {
  await browser?.close()
  pages?.close()
  other?.close()
})

const run = (name: string, ours: boolean) =>
  page.evaluate(
    ([name, url, nobody, ours]) => {
      const { kit } = window as any
      const make = (url: string, protocols?: string[]) =>
        ours
          ? new kit.ResilientWebSocket(url, protocols, { maxRetries: 0 })
          : new WebSocket(url, protocols ?? [])
      return kit.play(name, url, nobody, make) as Promise<string[]>
    },
    [name, other.url, nobody, ours] as const,
  )

describe.skipIf(!executablePath)('as the native WebSocket', () => {
  test('there are enough scenarios', () => {
    expect(Object.keys(scenarios).length).toBeGreaterThanOrEqual(40)
  })

  test.each(Object.keys(scenarios))('%s', async (name) => {
    const native = await run(name, false)
    expect(native.length).toBeGreaterThan(0)
    expect(await run(name, true)).toEqual(native)
  })
})
