// What the traces don't have: inputs that only this client's shells know.
import { expect, test } from 'vitest'
import { Client } from '../../src/machine/client.ts'
import type { Event, Input, Output } from '../../src/machine/contract.ts'
import { clientOptions } from '../../src/socket/session.ts'

const WELCOME = {
  type: 'welcome',
  connection: 'k',
  session: 's',
  resumed: false,
  node: 'n',
  acked: 0,
  inflight_max: 3,
  session_ttl_ms: 86_400_000,
  ping_interval_ms: 30_000,
  pong_timeout_ms: 10_000,
  message_bytes_max: 1000,
  max_reconnect_attempts: 3,
  subscriptions: {},
} as const

function setUp(seed = 1) {
  const client = new Client(seed, clientOptions({}))
  const feed = (input: Input) => client.handle(0, input)
  /** The newest link is opened and welcomed. */
  const welcome = () => {
    const { link } = client
    feed({ type: 'opened', link })
    feed({ type: 'message', link, message: WELCOME })
  }
  feed({ type: 'connect' })
  return { client, feed, welcome }
}

function eventsOf(outputs: Output[]): Event[] {
  return outputs.flatMap((output) => (output.type === 'event' ? [output] : []))
}

test('a link that is given up from this side is no failure', () => {
  for (let seed = 0; seed < 30; seed++) {
    const { client, feed, welcome } = setUp(seed)
    welcome()
    for (let times = 0; times < 6; times++) {
      const states = eventsOf(feed({ type: 'thawed' })).filter(({ event }) => event === 'state')
      expect(states).toMatchObject([{ state: 'connecting' }])
      // One that is not open yet neither.
      feed({ type: 'thawed' })
      welcome()
    }
    const { failures, errorsPermille } = client.backoff
    expect([failures, errorsPermille]).toEqual([0, 0])
    feed({ type: 'failed', link: client.link, evidence: { kind: 'opaque' } })
    expect(client.redialAt).toBeLessThanOrEqual(1_000_000)
  }
})

test('a page that was offline when it was frozen dials again', () => {
  const { client, feed, welcome } = setUp()
  welcome()
  const { link } = client
  feed({ type: 'hint', hint: 'offline' })
  feed({ type: 'failed', link, evidence: { kind: 'opaque' } })
  feed({ type: 'timeout' })
  expect(client.state).toBe('offline')
  feed({ type: 'thawed' })
  expect(client.state).toBe('waiting')
})

test('a replacement that is given up leaves the open link, and is dialled anew', () => {
  const { client, feed, welcome } = setUp()
  welcome()
  const link = client.link
  feed({ type: 'message', link, message: { type: 'reconnect', after_ms: 0, reason: 'drain' } })
  feed({ type: 'timeout' })
  expect(client.dials(link + 1)).toBe(true)
  const outputs = feed({ type: 'thawed' })
  expect([client.state, client.dials(link + 2)]).toEqual(['open', true])
  expect(outputs).toMatchObject([
    { type: 'close_link', link: link + 1 },
    { event: 'link_closed', link: link + 1 },
    { type: 'dial', link: link + 2 },
  ])
})
