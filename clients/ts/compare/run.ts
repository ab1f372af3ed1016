// A table of clients, from one run: their sizes, and what each does in the same trouble.
//
//   npm run peers            prints the table and writes PEERS.md
//
// All run in one Chromium, as they come out of the box, through a proxy that breaks links.
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { resolve } from 'node:path'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core'
import { executablePath } from '../test/browser/lib/page.ts'
import { FaultProxy } from '../test/e2e/lib/proxy.ts'
import { built, Server, until } from '../test/e2e/lib/server.ts'
import { peer } from './peer.ts'

/** How long a dead link is watched: longer than the slowest client's own deadline, 45 s. */
const SILENCE_MS = 60_000
/** How long everything else is watched. */
const WATCH_MS = 10_000

const IMPORTS: Record<string, string | undefined> = {
  '@bowline/client': "export { connect } from '../dist/index.js'",
  'native WebSocket': undefined,
  'reconnecting-websocket': "export { default } from 'reconnecting-websocket'",
  partysocket: "export { default } from 'partysocket/ws'",
  'socket.io-client': "export { io } from 'socket.io-client'",
  centrifuge: "export { Centrifuge } from 'centrifuge'",
  '@anycable/core': "export { createCable, Channel } from '@anycable/core'",
}
const NAMES = Object.keys(IMPORTS)
/** The names under which the echo server knows them. */
const KINDS: Record<string, string> = { '@anycable/core': 'anycable', 'native WebSocket': 'native' }

const folder = resolve('compare')
const bundle = (contents: string, more: object) =>
  build({
    stdin: { contents, resolveDir: folder, loader: 'ts' },
    bundle: true,
    target: 'es2022',
    write: false,
    logLevel: 'error',
    ...more,
  })

async function sizeOf(contents: string | undefined): Promise<string> {
  if (!contents) return '–'
  const options = { minify: true, format: 'esm', platform: 'browser' }
  const { outputFiles } = await bundle(contents, options)
  return `${(gzipSync(outputFiles![0]!.contents, { level: 9 }).length / 1000).toFixed(1)} kB`
}

function versionOf(name: string): string {
  if (name.startsWith('native')) return ''
  const path = name.startsWith('@bowline')
    ? 'package.json'
    : `compare/node_modules/${name}/package.json`
  return ` ${JSON.parse(readFileSync(path, 'utf8')).version}`
}

// A release build is what is compared.
process.env.BOWLINE ||= built('bowline', '--release -p bowline-cli', ['release'])
const other = await peer()
const server = await Server.start()
const proxies = [await FaultProxy.start(other.port), await FaultProxy.start(server.port)]
const [toPeer, toBowline] = proxies as [FaultProxy, FaultProxy]
const places = { peer: `ws://127.0.0.1:${toPeer.port}`, bowline: toBowline.url }
const script = (
  await bundle("export * from './page.ts'", { format: 'iife', globalName: 'compare' })
).outputFiles![0]!.text
const site = createServer((_, response) => {
  response.setHeader('Content-Type', 'text/html; charset=utf-8')
  response.end(`<!doctype html><script>${script}\nwindow.compare = compare</script>`)
})
await new Promise<void>((done) => site.listen(0, '127.0.0.1', done))
const { port } = site.address() as { port: number }
const browser: Browser = await chromium.launch({
  executablePath: executablePath!,
  args: ['--no-sandbox'],
})
let context: BrowserContext
let page: Page

/** A fresh page with all clients, connected. */
async function begin(status?: number): Promise<void> {
  await context?.close()
  for (const proxy of proxies) {
    proxy.cut()
    proxy.hole = proxy.refuse = false
  }
  other.received.length = 0
  context = await browser.newContext()
  page = await context.newPage()
  await page.goto(`http://127.0.0.1:${port}/`)
  await page.evaluate(
    (places) => {
      const w = window as any
      w.players = w.compare.begin(places)
    },
    { ...places, ...(status !== undefined && { status }) },
  )
  if (status !== undefined) return
  await until('all are connected', () =>
    page.evaluate(() => Object.values((window as any).players).every(({ open }: any) => open)),
  )
}

type Fact = 'lostAt' | 'closedAt'

/** When each said so, in seconds since now, or not within the time. */
async function watch(fact: Fact, ms: number): Promise<Record<string, string>> {
  return page.evaluate(
    async ([fact, ms]) => {
      const { players } = window as any
      const began = performance.now()
      const all: any[] = Object.values(players)
      while (performance.now() - began < ms && all.some((player) => player[fact] === undefined)) {
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
      const tell = (at: number | undefined) =>
        at === undefined
          ? `not within ${ms / 1000} s`
          : at <= began
            ? 'at once'
            : `${((at - began) / 1000).toFixed(1)} s`
      return Object.fromEntries(
        Object.entries(players).map(([name, player]: any) => [name, tell(player[fact])]),
      )
    },
    [fact, ms] as const,
  )
}

async function silentStall(): Promise<Record<string, string>> {
  await begin()
  for (const proxy of proxies) proxy.hole = true
  return watch('lostAt', SILENCE_MS)
}

async function toldOffline(): Promise<Record<string, string>> {
  await begin()
  await context.setOffline(true)
  const found = await watch('lostAt', WATCH_MS)
  await context.setOffline(false)
  return found
}

async function closesDead(): Promise<Record<string, string>> {
  await begin()
  for (const proxy of proxies) proxy.hole = true
  await page.evaluate(() => {
    for (const player of Object.values((window as any).players) as any[]) player.close()
  })
  return watch('closedAt', WATCH_MS)
}

async function sendsOffline(): Promise<Record<string, string>> {
  await begin()
  for (const proxy of proxies) {
    proxy.refuse = true
    proxy.cut()
  }
  const errors = await page.evaluate(async () => {
    const { players } = window as any
    await new Promise((resolve) => setTimeout(resolve, 1000))
    const errors: Record<string, string> = {}
    for (const [name, player] of Object.entries(players) as any) {
      for (const text of ['1', '2', '3']) {
        try {
          player.send(text)
        } catch (error) {
          errors[name] = (error as Error).name
        }
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 500))
    return errors
  })
  for (const proxy of proxies) proxy.refuse = false
  await new Promise((resolve) => setTimeout(resolve, WATCH_MS))
  const fates = await page.evaluate(() =>
    Object.fromEntries(
      Object.entries((window as any).players).map(([name, { fates }]: any) => [name, fates]),
    ),
  )
  const answer = await fetch(`${server.http}/api/channels/compare/history`)
  const { publications = [] } = (await answer.json()) as { publications?: { data: string }[] }
  return Object.fromEntries(
    NAMES.map((name) => {
      const kind = KINDS[name] ?? name
      const got = name.startsWith('@bowline')
        ? publications.map(({ data }) => data)
        : other.received
            .filter((line) => line.startsWith(`${kind} `))
            .map((line) => line.split(' ')[1])
      const told = fates[name]?.length
        ? `; told: ${[...new Set(fates[name])].join(', ')}`
        : '; told nothing'
      return [name, errors[name] ?? `${got.length} of 3 arrived${told}`]
    }),
  )
}

async function refusals(status: number): Promise<Record<string, string>> {
  await begin(status)
  await page.waitForTimeout(WATCH_MS)
  return page.evaluate(() =>
    Object.fromEntries(
      Object.entries((window as any).players).map(([name, { told }]: any) => [
        name,
        [...told].map((words: string) => words.trim()).join(', ') || 'nothing',
      ]),
    ),
  )
}

const columns: [string, Record<string, string>][] = [
  [
    'min+gzip',
    Object.fromEntries(
      await Promise.all(NAMES.map(async (name) => [name, await sizeOf(IMPORTS[name])])),
    ),
  ],
  ['link goes silent: noticed after', await silentStall()],
  ['the same, and the browser says offline', await toldOffline()],
  ['`close()` on a dead link: over after', await closesDead()],
  ['3 messages sent while the server is away', await sendsOffline()],
  ['refused with 401: the application is told', await refusals(401)],
  ['refused with 503: the application is told', await refusals(503)],
]
const cell = (text = '–') => text.replaceAll('|', '\\|')
const rows = NAMES.map(
  (name) =>
    `| ${name}${versionOf(name)} | ${columns.map(([, facts]) => cell(facts[name])).join(' | ')} |`,
)
const table = `# Beside other clients

Written by \`npm run peers\` in Chromium ${browser.version()}, from one run: all clients in one page, with their defaults, each with a server
that speaks its protocol, through a proxy that breaks links. A silent link is watched for ${SILENCE_MS / 1000} s, all else for ${WATCH_MS / 1000} s.
Centrifugo and Action Cable are played by a small server with their handshakes and their usual pings (25 s and 3 s).

| client | ${columns.map(([title]) => title).join(' | ')} |
|---|${columns.map(() => '---|').join('')}
${rows.join('\n')}
`
writeFileSync('PEERS.md', table)
console.log(table)
await browser.close()
for (const proxy of proxies) await proxy.stop()
await server.end()
other.close()
site.close()
process.exit(0)
