// How soon a dead link is noticed, and how soon the first message comes when the path is back: the
// client in Node, a real server, a proxy in between, all on this machine.
//
//   npm run bench -- [--trials 200]
import { WebSocket } from 'ws'
import { connect, type EnvironmentHint, type ResilientWebSocket } from '../src/index.ts'
import { FaultProxy } from '../test/e2e/lib/proxy.ts'
import { built, Server, until } from '../test/e2e/lib/server.ts'

/** Clients that go through each round side by side. */
const CLIENTS = 10
const PING_INTERVAL_MS = 2000
const PONG_TIMEOUT_MS = 1000

const at = process.argv.indexOf('--trials')
const trials = at < 0 ? 200 : Number(process.argv[at + 1])
const rounds = Math.ceil(trials / CLIENTS)

interface Played {
  ws: ResilientWebSocket
  hint: (hint: EnvironmentHint) => void
  lostAt: number | undefined
  heard: Map<unknown, number>
}

// A release build is what is measured.
process.env.BOWLINE ||= built('bowline', '--release -p bowline-cli', ['release'])
const server = await Server.start({
  WEBSOCKET_PING_INTERVAL: String(PING_INTERVAL_MS / 1000),
  WEBSOCKET_PONG_TIMEOUT: String(PONG_TIMEOUT_MS / 1000),
})
const proxy = await FaultProxy.start(server.port)
const players = Array.from({ length: CLIENTS }, play)
let failed = false

function play(): Played {
  const played: Played = { ws: undefined as never, hint() {}, lostAt: undefined, heard: new Map() }
  const hints = (listener: Played['hint']) => {
    played.hint = listener
    return () => {}
  }
  // Everything else as it comes out of the box.
  played.ws = connect(proxy.url, { WebSocket, environment: { hints } })
  played.ws.on('lostconnection', ({ status }) => {
    if (status === 'lost') played.lostAt = performance.now()
  })
  played.ws.subscribe('bench', {
    listener: (delivery) => {
      if (delivery.type === 'message') played.heard.set(delivery.data, performance.now())
    },
  })
  return played
}

const allOpen = () =>
  until('all are open', () => players.every(({ ws }) => ws.state === 'open'), 90_000)
const allLost = () =>
  until('all have noticed', () => players.every(({ lostAt }) => lostAt !== undefined), 60_000)

/** Repairs the path, and brings everybody back. */
async function heal(): Promise<void> {
  proxy.cut()
  proxy.hole = false
  proxy.refuse = false
  for (const { hint } of players) hint('online')
  await begin()
}

/** All links are open, and none has been lost. */
async function begin(): Promise<void> {
  await allOpen()
  for (const player of players) player.lostAt = undefined
}

/** The path swallows everything; how long until each has noticed. */
async function notice(hint: EnvironmentHint | undefined): Promise<number[]> {
  proxy.hole = true
  const began = performance.now()
  if (hint) for (const player of players) player.hint(hint)
  await allLost()
  const spans = players.map(({ lostAt }) => lostAt! - began)
  await heal()
  return spans
}

/** The path is down while a message is published; how long until each has it once it is back. */
async function comeBack(round: number): Promise<number[]> {
  proxy.refuse = true
  proxy.cut()
  for (const { hint } of players) hint('offline')
  await allLost()
  await server.publish('bench', round)
  proxy.refuse = false
  const began = performance.now()
  for (const { hint } of players) hint('online')
  await until('all have heard', () => players.every(({ heard }) => heard.has(round)), 60_000)
  const spans = players.map(({ heard }) => heard.get(round)! - began)
  // Nothing is to be repaired: cutting the links once more would be a failure of its own.
  await begin()
  return spans
}

function report(what: string, spans: number[], bound: number, share: number): void {
  spans.sort((a, b) => a - b)
  const quantile = (q: number) =>
    spans[Math.min(spans.length - 1, Math.ceil(q * spans.length) - 1)]!
  const judged = quantile(share)
  const ok = judged <= bound
  failed ||= !ok
  const name = share === 1 ? 'max' : `p${share * 100}`
  const figures = [0.5, 0.9, 0.99, 1].map((q) => quantile(q).toFixed(0)).join(' / ')
  console.log(
    `${what}: ${spans.length} trials, p50 / p90 / p99 / max ${figures} ms; ` +
      `${name} ${judged.toFixed(0)} ms of ${bound} ms ${ok ? 'ok' : 'TOO SLOW'}`,
  )
}

await allOpen()
const hinted: number[] = []
const back: number[] = []
const silent: number[] = []
for (let round = 0; round < rounds; round++) {
  hinted.push(...(await notice((['wake', 'online', 'visible'] as const)[round % 3])))
  back.push(...(await comeBack(round)))
}
for (let round = 0; round < Math.ceil(rounds / 4); round++)
  silent.push(...(await notice(undefined)))
report('a dead link is noticed after a hint', hinted, 2000, 1)
report('a dead link is noticed without one', silent, PING_INTERVAL_MS + PONG_TIMEOUT_MS + 100, 1)
report('the first message after the path is back', back, 250, 0.99)

for (const { ws } of players) ws.close()
await proxy.stop()
await server.end()
process.exitCode = failed ? 1 : 0
