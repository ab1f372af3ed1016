// What a client keeps of what servers make up.
import { describe, expect, test } from 'vitest'
import { utf8Length } from '../../src/codec/bytes.ts'
import { Client } from '../../src/machine/client.ts'
import { clientOptions } from '../../src/socket/session.ts'

const POSITION = '00000000000000aa.9007199254740991.00000001'
const WELCOME = {
  type: 'welcome',
  session: 's1',
  resumed: false,
  acked: 0,
  inflight_max: 3,
  ping_interval_ms: 30_000,
  pong_timeout_ms: 10_000,
  message_bytes_max: 65_536,
  max_reconnect_attempts: 10,
  session_ttl_ms: 86_400_000,
} as const

describe('names that a server makes up leave room in hello', () => {
  test.each([
    [1, 1000],
    [1000, 195],
  ])('%i quotes in each', (quotes, kept) => {
    const client = new Client(1, clientOptions({}))
    const open = (link: number) => {
      const out = client.handle(0, { type: 'opened', link })
      return out.find(({ type }) => type === 'write')
    }
    const subscribed = (number: number) => {
      const channel = name(number)
      const message = { type: 'subscribed', channel, position: POSITION, recovered: true } as const
      return client.handle(0, { type: 'message', link: 1, message })
    }
    const name = (number: number) => `${number + 1000}${'"'.repeat(quotes)}`
    client.handle(0, { type: 'connect' })
    open(1)
    client.handle(0, { type: 'message', link: 1, message: WELCOME })
    for (let number = 0; number < 3000; number++) {
      const message = { type: 'unsubscribe', channel: name(number) }
      const ended = { type: 'write', link: 1, message }
      expect(subscribed(number)).toMatchObject(number < kept ? [{ event: 'subscribed' }] : [ended])
    }
    // A place that is given up is free again.
    const message = { type: 'unsubscribed', channel: name(0), code: 'forbidden' } as const
    client.handle(0, { type: 'message', link: 1, message })
    expect(subscribed(3000)).toMatchObject([{ event: 'subscribed' }])
    expect(subscribed(3001)).toMatchObject([{ type: 'write' }])

    client.handle(0, { type: 'thawed' })
    const hello = open(2) as { message: { subscribe: object } }
    expect(Object.keys(hello.message.subscribe)).toHaveLength(kept)
    expect(utf8Length(JSON.stringify(hello.message))).toBeLessThan(512 * 1024)
  })
})
