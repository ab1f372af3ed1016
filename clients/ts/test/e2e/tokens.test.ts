// Tokens that end while a link is open: the server says so, and the client brings a new one.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { connect, type TokenReason } from '../../src/index.ts'
import { Server, token, until, WITH_TOKENS } from './lib/server.ts'

const TTL_MS = 4000
const RENEWALS = 3

let server: Server

beforeAll(async () => {
  server = await Server.start(WITH_TOKENS)
})

afterAll(() => server?.end())

test('a token is renewed on the open link again and again, and nothing is lost', async () => {
  const reasons: TokenReason[] = []
  const states: string[] = []
  const seen: unknown[] = []
  const errors: unknown[] = []
  await using ws = connect(server.url, {
    WebSocket,
    getToken({ reason }) {
      reasons.push(reason)
      return token('ada', `${TTL_MS / 1000}s`)
    },
  })
  ws.on('statechange', ({ current }) => states.push(current))
  ws.on('error', ({ code }) => errors.push(code))
  const subscription = ws.subscribe('renewed', {
    listener: (delivery) => {
      if (delivery.type === 'message') seen.push(delivery.data)
    },
  })
  await subscription.ready
  const began = Date.now()
  // Past the end of the first token and of the second: those that came later are what counts.
  const enough = () => reasons.length > RENEWALS && Date.now() - began > 2 * TTL_MS
  let published = 0
  await until(
    'the token is renewed',
    async () => {
      await ws.publish('renewed', published++)
      return enough()
    },
    6 * TTL_MS,
  )
  await until('all are back', () => seen.length >= published)
  expect(seen).toEqual(Array.from({ length: published }, (_, i) => i))
  expect(reasons.slice(0, 2)).toEqual(['connect', 'expired'])
  expect(new Set(reasons.slice(1))).toEqual(new Set(['expired']))
  // A probe may be out now and then; the link is one and the same.
  const usual = ['authorizing', 'connecting', 'handshaking', 'open', 'probing']
  expect(states.filter((state) => !usual.includes(state))).toEqual([])
  expect([ws.statistics.opens, ws.statistics.classes, errors]).toEqual([1, {}, []])
})
