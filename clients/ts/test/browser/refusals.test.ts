// A real server refuses, in Chromium: tokens, limits, origins; told by a close frame and by a bare
// HTTP status, which a page can't see.
import type { Browser, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { Server, token, until, WITH_TOKENS } from '../e2e/lib/server.ts'
import { executablePath, launch, site } from './lib/page.ts'

let browser: Browser
let pages: Awaited<ReturnType<typeof site>>
let page: Page
const servers: Server[] = []

beforeAll(async () => {
  ;[browser, pages] = await Promise.all([launch(), site()])
})

afterEach(async () => {
  await page?.close()
  for (const server of servers.splice(0)) await server.end()
})

afterAll(async () => {
  await browser?.close()
  pages?.close()
})

async function serve(settings: Record<string, string>): Promise<Server> {
  const { origin } = new URL(pages.url)
  const server = await Server.start({ WEBSOCKET_ALLOWED_ORIGINS: origin, ...settings })
  servers.push(server)
  page = await browser.newPage()
  await page.goto(pages.url)
  return server
}

/** A client in the page, as `window[name]`, whose tokens come from a list: the last one stays. */
async function client(name: string, url: string, tokens?: string[]): Promise<void> {
  await page.evaluate(
    ([name, url, tokens]) => {
      const w = window as any
      w.reasons = []
      const getToken = ({ reason }: any) => {
        w.reasons.push(reason)
        return tokens!.length > 1 ? tokens!.shift() : tokens![0]
      }
      w[name] = w.kit.connect(url, {
        minReconnectionDelay: 20,
        maxReconnectionDelay: 100,
        ...(tokens && { getToken }),
      })
      w[name].states = []
      w[name].on('statechange', ({ current }: any) => w[name].states.push(current))
    },
    [name, url, tokens] as const,
  )
}

const look = (name: string) =>
  page.evaluate((name) => {
    const { state, states, recommendation, statistics } = (window as any)[name]
    const { classes, codes } = statistics
    return { state, states, recommendation, classes, codes, reasons: (window as any).reasons }
  }, name)

const reach = (name: string, state: string) =>
  until(`${name} ${state}`, async () => (await look(name)).state === state)

describe.skipIf(!executablePath)('a real server that refuses', () => {
  test('an expired token is replaced once; a second refusal needs the user', async () => {
    const server = await serve(WITH_TOKENS)
    const old = token('ada', '1s')
    await until('it has expired', async () => {
      const answer = await fetch(`${server.http}/ws?token=${old}`, {
        headers: { connection: 'close' },
      })
      return answer.status === 401
    })
    await client('ws', server.url, [old, token('ada')])
    await reach('ws', 'open')
    expect(await look('ws')).toMatchObject({
      reasons: ['connect', 'refused'],
      classes: { auth: 1 },
      codes: { token_expired: 1 },
    })
    await client('other', server.url, [old])
    await reach('other', 'blocked')
    expect(await look('other')).toMatchObject({
      reasons: ['connect', 'refused'],
      classes: { auth: 2 },
      recommendation: { action: 'login', detail: 'Your sign-in has expired.' },
    })
  })

  test.each([
    ['close frames', '256'],
    ['bare HTTP', '0'],
  ])('limits are told apart by %s', async (_, refusals) => {
    const limit = { WEBSOCKET_MAX_REFUSALS: refusals, WEBSOCKET_LOOPBACK_EXEMPT: 'false' }
    const few = await serve({ ...limit, WEBSOCKET_MAX_CONNECTIONS_PER_IP: '1' })
    await client('first', few.url)
    await reach('first', 'open')
    await client('second', few.url)
    await until('429 is told', async () => (await look('second')).classes.rate_limit > 0)
    const limited = await look('second')
    expect(limited.codes).toMatchObject({ too_many_connections: expect.any(Number) })
    expect(limited.recommendation).toMatchObject({ action: 'wait' })
    await page.close()

    const full = await serve({ ...limit, WEBSOCKET_MAX_CONNECTIONS: '1' })
    await client('first', full.url)
    await reach('first', 'open')
    await client('second', full.url)
    await until('503 is told', async () => (await look('second')).classes.server > 0)
    expect((await look('second')).recommendation).toMatchObject({ action: 'wait' })
  })

  test.each([
    ['a close frame', '256'],
    ['bare HTTP', '0'],
  ])('a bad token and a foreign origin block, told by %s', async (how, refusals) => {
    const settings = { ...WITH_TOKENS, WEBSOCKET_MAX_REFUSALS: refusals }
    const strict = await serve(settings)
    await page.evaluate((url) => {
      const w = window as any
      const options = { minReconnectionDelay: 20, maxReconnectionDelay: 100 }
      w.reasons = []
      w.ws = new w.kit.ResilientWebSocket(url, [], options)
    }, `${strict.url}?token=nonsense&channels=a`)
    await reach('ws', 'blocked')
    expect(await look('ws')).toMatchObject({
      classes: { auth: 1 },
      codes: { unauthorized: 1 },
      recommendation: { action: 'login' },
    })
    await page.close()

    const foreign = await serve({ ...settings, WEBSOCKET_ALLOWED_ORIGINS: 'https://example.org' })
    await client('ws', foreign.url, [token('ada')])
    await reach('ws', 'blocked')
    expect(await look('ws')).toMatchObject({
      // A page learns nothing of the first bare refusal, and asks about the second.
      classes: how === 'bare HTTP' ? { network: 1, policy: 1 } : { policy: 1 },
      codes: { origin_not_allowed: 1 },
      recommendation: { action: 'contact' },
    })
  })
})
