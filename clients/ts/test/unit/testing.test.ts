// The scripted server keeps the contract of `bowline.v1` that a client relies on.
import { beforeEach, describe, expect, test } from 'vitest'
import type { Delivery, From } from '../../src/index.ts'
import { begin, bowline, ends, server, time, types } from './lib/scripted.ts'

beforeEach(begin)

const at = (offset: number) => `00000000000000aa.${offset}.00000001`

/** What a reader of channel `a` is told, in short. */
function reading(ws: ReturnType<typeof bowline>, from: From = null): unknown[] {
  const told: unknown[] = []
  const listener = (delivery: Delivery) => {
    if (delivery.type === 'message') told.push(delivery.data)
    else if (delivery.type === 'subscribed') told.push(delivery.recovery)
    else told.push(delivery.type)
  }
  ws.subscribe('a', { from, listener })
  return told
}

describe('history', () => {
  test('what was published while a client was away comes when it is back, in order', async () => {
    const ws = bowline()
    const told = reading(ws)
    await time.advance(1)
    server.publish('a', 1)
    server.link?.end()
    for (const data of [2, 3]) server.publish('a', data)
    await time.advance(2000)
    server.publish('a', 4)
    const first = { position: at(0), recovered: true, reason: 'new' }
    expect(told).toEqual([first, 1, { position: at(1), recovered: true }, 2, 3, 4])
    expect(types()).toEqual(['hello'])
  })

  test('what is published while missed messages are read comes after them', async () => {
    for (const data of [1, 2]) server.publish('a', data)
    // With a store the client writes later, so that the answer does not come while it is busy.
    const ws = bowline({ store: { load: async () => undefined, async save() {}, release() {} } })
    const read: unknown[] = []
    ws.subscribe('a', {
      from: 'first',
      listener(delivery) {
        if (delivery.type !== 'message') return
        read.push(delivery.data)
        if (delivery.data === 1) server.publish('a', 3)
        if (delivery.data === 3) server.link?.end()
      },
    })
    await time.advance(2000)
    expect(read).toEqual([1, 2, 3])
    const written = server.dialled.map(({ received }) => received.map(({ type }) => type))
    expect(written).toEqual([['hello'], ['hello']])
  })

  test.each<[From, object, unknown[]]>([
    [null, { position: at(4), recovered: true, reason: 'new' }, []],
    ['first', { position: at(1), recovered: true, reason: 'new' }, [2, 3, 4]],
    [{ last: 2 }, { position: at(2), recovered: true, reason: 'new' }, [3, 4]],
    [{ last: 9 }, { position: at(1), recovered: true, reason: 'new' }, [2, 3, 4]],
    [at(3), { position: at(3), recovered: true }, [4]],
    [at(1), { position: at(1), recovered: true }, [2, 3, 4]],
    [at(0), { position: at(1), recovered: false, reason: 'expired' }, [2, 3, 4]],
    [at(5), { position: at(4), recovered: false, reason: 'rewound' }, []],
    [at(3).replace(/1$/, '2'), { position: at(4), recovered: false, reason: 'rewound' }, []],
    [
      at(3).replace('aa', 'bb'),
      { position: at(1), recovered: false, reason: 'unknown_epoch' },
      [2, 3, 4],
    ],
  ])('from %o is answered as the protocol says', async (from, recovery, missed) => {
    server.historyMax = 3
    for (const data of [1, 2, 3, 4]) server.publish('a', data)
    const early = reading(bowline(), from)
    const ws = bowline()
    await time.advance(1)
    const late = reading(ws, from)
    expect([early, late]).toEqual([
      [recovery, ...missed],
      [recovery, ...missed],
    ])
  })

  test.each([{ last: -1 }, 'yesterday', 7])('from %o is no position', async (from) => {
    const ws = bowline()
    const errors: unknown[] = []
    ws.on('subscribeerror', ({ channel, error }) => errors.push([channel, error.code, error.retry]))
    const early = reading(ws, from as From)
    await time.advance(1)
    const late = reading(ws, from as From)
    expect([early, late]).toEqual([['refused'], ['refused']])
    expect(errors).toEqual([
      ['a', 'bad_position', false],
      ['a', 'bad_position', false],
    ])
    await expect(ws.history('a', { after: 'yesterday' })).rejects.toMatchObject({
      code: 'bad_position',
    })
  })

  test('is bounded: who was away for longer is told of a gap', async () => {
    const ws = bowline()
    const gaps: unknown[] = []
    ws.on('gap', ({ reason }) => gaps.push(reason))
    const told = reading(ws)
    await time.advance(1)
    server.link?.end()
    for (let data = 1; data <= 1002; data++) server.publish('a', data)
    await time.advance(2000)
    expect(gaps).toEqual(['expired'])
    expect(told.slice(1, 3)).toEqual([{ position: at(2), recovered: false, reason: 'expired' }, 3])
    expect([told.length, told.at(-1)]).toEqual([1002, 1002])
  })

  test('keeps what was published as it was then', async () => {
    const row = { n: 1 }
    server.publish('a', row)
    row.n = 2
    server.publish('a', undefined)
    const told = reading(bowline(), 'first')
    await time.advance(1)
    expect(told.slice(1)).toEqual([{ n: 1 }, null])
  })

  test('is read by pages', async () => {
    for (const data of ['x', 'y', 'z']) server.publish('a', data)
    const ws = bowline()
    await time.advance(1)
    const rows = ['x', 'y', 'z'].map((data, index) => ({ position: at(index + 1), data }))
    const newest = await ws.history('a', { limit: 2 })
    const all = { channel: 'a', publications: rows, position: at(3), more: false }
    expect(newest).toEqual({
      ...all,
      publications: rows.slice(1),
      recovered: true,
      reason: 'new',
    })
    expect(await ws.history('a', { after: at(0), limit: 1 })).toEqual({
      channel: 'a',
      publications: rows.slice(0, 1),
      position: at(1),
      recovered: true,
      more: true,
    })
    server.historyMax = 2
    server.publish('a', 'last')
    expect(await ws.history('a', { after: at(0) })).toMatchObject({
      publications: [{ data: 'z' }, { data: 'last' }],
      recovered: false,
      reason: 'expired',
      more: false,
    })
    expect(await ws.history('never')).toEqual({
      channel: 'never',
      publications: [],
      position: at(0),
      recovered: true,
      reason: 'new',
      more: false,
    })
  })
})

describe('presence', () => {
  test('counts who follows the channel, by the name that all have', async () => {
    const [ws] = [bowline(), bowline()].map((client) => {
      client.subscribe('a', { listener() {} })
      return client
    })
    await time.advance(1)
    const nobody = { channel: 'a', users: [], user_count: 0 }
    expect(await ws?.presence('a')).toEqual({ ...nobody, connection_count: 2 })
    server.welcome = { user: 'ana' }
    const ana = { channel: 'a', users: ['ana'], user_count: 1 }
    expect(await ws?.presence('a')).toEqual({ ...ana, connection_count: 2 })
    expect(await ws?.presence('b')).toEqual({ ...nobody, channel: 'b', connection_count: 0 })
  })
})

describe('refusals', () => {
  test('are of messages: a skip, which takes all numbers up to its own, is stored', async () => {
    const asked: unknown[] = []
    server.refusal = ({ type, seq }) => {
      asked.push([type, seq])
      // A client that is refused for ever would not let go of the time.
      return asked.length > 9 ? undefined : { code: 'forbidden', retry: false }
    }
    const ws = bowline()
    await time.advance(1)
    const found = ends([ws.publish('a', 1), ws.publish('a', 2)])
    await time.advance(10)
    const forbidden = expect.objectContaining({ code: 'forbidden', fate: 'refused' })
    expect(found).toEqual([forbidden, forbidden])
    expect(asked).toEqual([
      ['publish', 1],
      ['publish', 2],
    ])
    server.refusal = () => undefined
    server.silent = true
    const given = ends([ws.publish('a', 3), ws.publish('a', 4)])
    ws.clearOutbox()
    // What is on its way is answered, or comes again on the next link.
    expect(types()?.slice(-2)).toEqual(['publish', 'publish'])
    server.silent = false
    server.link?.end()
    await time.advance(2000)
    await ws.publish('a', 5)
    expect([given.length, types()?.slice(-2)]).toEqual([2, ['skip', 'publish']])
    expect(server.link?.received.at(-2)).toEqual({ type: 'skip', seq: 4 })
  })
})

describe('pings', () => {
  test('keep an idle link alive; a server that falls silent is noticed', async () => {
    const ws = bowline()
    await time.advance(600_000)
    expect([ws.state, server.dialled.length]).toEqual(['open', 1])
    server.silent = true
    await time.advance(41_000)
    expect(ws.state).not.toBe('open')
  })

  test('come as often as welcome says', async () => {
    server.welcome = { ping_interval_ms: 5000 }
    bowline()
    await time.advance(16_000)
    const pongs = server.link?.received.filter(({ type }) => type === 'pong')
    expect(pongs?.length).toBe(3)
  })
})

describe('sessions', () => {
  test('one that has stored numbers goes on, a new one does not', async () => {
    const ws = bowline()
    const told: unknown[] = []
    ws.on('reconnected', ({ resumed }) => told.push(resumed))
    await time.advance(1)
    // The server has no record of it before its first number.
    server.link?.end()
    await time.advance(2000)
    await ws.publish('a', 1)
    server.link?.end()
    await time.advance(2000)
    expect(told).toEqual([false, true])
  })

  test('one whose link still lives is taken over', async () => {
    const ws = bowline()
    const told: unknown[] = []
    ws.on('reconnected', ({ resumed }) => told.push(resumed))
    await time.advance(1)
    server.silent = true
    server.hint('online')
    await time.advance(3000)
    server.silent = false
    await time.advance(30_000)
    expect([ws.state, told]).toEqual(['open', [true]])
  })

  test('one that nobody named counts its numbers like any other, until bye', async () => {
    const ws = bowline({ environment: { randomBytes: undefined } })
    const told: unknown[] = []
    ws.on('reconnected', ({ resumed }) => told.push(resumed))
    await time.advance(1)
    await ws.publish('a', 1)
    server.link?.end()
    const sent = ws.publish('a', 2)
    await time.advance(2000)
    await sent
    ws.close()
    await time.advance(10)
    const other = bowline({ environment: { randomBytes: undefined } })
    const found = ends([other.publish('a', 3)])
    await time.advance(10)
    const page = await other.history('a')
    expect([told, found]).toEqual([[true], ['done']])
    expect(page.publications.map(({ data }) => data)).toEqual([1, 2, 3])
  })
})
