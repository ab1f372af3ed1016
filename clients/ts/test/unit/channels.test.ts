// Channels and their readers.
import { beforeEach, describe, expect, test } from 'vitest'
import { begin, bowline, ends, server, time, types } from './lib/scripted.ts'

beforeEach(begin)

describe('channels', () => {
  test('readers share a subscription; the last one ends it', async () => {
    const ws = bowline()
    const [one, two] = [ws.subscribe('a'), ws.subscribe('a')]
    await time.advance(1)
    expect(types()).toEqual(['hello'])
    one.unsubscribe()
    expect(types()).toEqual(['hello'])
    await two[Symbol.asyncDispose]()
    expect(types()).toEqual(['hello', 'unsubscribe'])
    await expect(two.ready).resolves.toBeDefined()
  })

  test('a signal ends a reader, unsubscribe all of them', async () => {
    const ws = bowline()
    const abort = new AbortController()
    ws.subscribe('a', { signal: abort.signal })
    const other = ws.subscribe('b')
    const ended: unknown[] = []
    ws.on('unsubscribed', ({ channel }) => ended.push(channel))
    await time.advance(1)
    abort.abort()
    ws.unsubscribe('b')
    ws.unsubscribe('never')
    expect(ended).toEqual(['a', 'b'])
    const items: unknown[] = []
    for await (const item of other) items.push(item)
    expect(items).toEqual([])
    const early = ws.subscribe('c', { signal: AbortSignal.abort() })
    await expect(early.ready).rejects.toMatchObject({ code: 'closed' })
  })

  test('deliveries tell of gaps and the end, too', async () => {
    const ws = bowline()
    const types: string[] = []
    const read = async () => {
      for await (const { type } of ws.subscribe('a').deliveries()) types.push(type)
    }
    const done = ends([read()])
    await time.advance(1)
    server.publish('a', 1)
    server.link?.say({ type: 'gap', channel: 'a', reason: 'slow', missed: 2 })
    server.link?.say({ type: 'error', id: 99, code: 'x' })
    server.link?.say({ type: 'unsubscribed', channel: 'a', code: 'forbidden' })
    await time.advance(1)
    expect([types, done]).toEqual([['subscribed', 'message', 'gap', 'ended'], ['done']])
  })

  test('a further reader joins behind the item that is being told', async () => {
    const ws = bowline()
    const read: unknown[] = []
    const join = () =>
      ws.subscribe('a', {
        listener: ({ type }) => {
          read.push(type)
          if (type === 'message' && read.length < 100) join()
        },
      })
    join()
    await time.advance(1)
    server.publish('a', 1)
    expect(read).toEqual(['subscribed', 'message'])
  })

  test.each([
    ['break', false],
    ['an error', true],
  ])('the item at which a loop is left, by %s, is behind the reader', async (_, fails) => {
    const ws = bowline()
    await time.advance(1)
    const subscription = ws.subscribe('a')
    const read = async () => {
      for await (const { data } of subscription) {
        if (data === 2 && fails) throw new Error('mine')
        if (data === 2) break
      }
    }
    const done = ends([read()])
    await time.advance(1)
    for (const data of [1, 2, 3]) server.publish('a', data)
    await time.advance(1)
    expect(done).toEqual([fails ? new Error('mine') : 'done'])
    const later: unknown[] = []
    const from = subscription.position ?? null
    ws.on('message', ({ data }) => later.push(data))
    ws.subscribe('a', { from })
    expect(later).toEqual([3])
  })

  test('loops over one subscription share its items, and end together', async () => {
    const ws = bowline()
    const subscription = ws.subscribe('a')
    const read: unknown[] = []
    const loop = async () => {
      for await (const { data } of subscription) read.push(data)
    }
    const done = ends([loop(), loop()])
    await time.advance(1)
    for (const data of [1, 2, 3]) server.publish('a', data)
    await time.advance(1)
    expect([read, done]).toEqual([
      [1, 2, 3],
      [undefined, undefined],
    ])
    subscription.unsubscribe()
    await time.advance(1)
    expect(done).toEqual(['done', 'done'])
  })

  test('a name that no server can read is refused alone, and later as a server does', async () => {
    const ws = bowline()
    const refused: unknown[] = []
    ws.on('subscribeerror', ({ channel, error }) => refused.push([channel, error.code]))
    const names = ['\ud800', 'a\udfff', '', 'a\u0000', 'é'.repeat(513)]
    const types: string[] = []
    const found = ends(
      names.map((name) => ws.subscribe(name, { listener: ({ type }) => types.push(type) }).ready),
    )
    const good = ws.subscribe('😀')
    expect(refused).toEqual([])
    await time.advance(1)
    const error = expect.objectContaining({ code: 'bad_channel', retry: false })
    expect(found).toEqual(names.map(() => error))
    expect(types).toEqual(names.map(() => 'refused'))
    expect(refused).toEqual(names.map((name) => [name, 'bad_channel']))
    await expect(good.ready).resolves.toBeDefined()
    expect(server.link?.received).toMatchObject([{ subscribe: { '😀': null } }])
  })

  test('an answer that history no longer reached back is a gap, too', async () => {
    const ws = bowline()
    const told: unknown[] = []
    ws.on('subscribed', ({ recovered }) => told.push(recovered))
    ws.on('gap', ({ channel, reason, position }) => told.push([channel, reason, position]))
    const types: string[] = []
    ws.subscribe('a', { listener: ({ type }) => types.push(type) })
    await time.advance(1)
    server.publish('a', 1)
    const position = '00000000000000aa.9.00000001'
    server.welcome = { subscriptions: { a: { recovered: false, reason: 'expired', position } } }
    server.link?.end()
    await time.advance(2000)
    expect(told).toEqual([true, false, ['a', 'expired', position]])
    // A reader has it in the answer.
    expect(types).toEqual(['subscribed', 'message', 'subscribed'])
  })

  test('a slow reader pauses its channel, and resumes it when it has caught up', async () => {
    const ws = bowline()
    const subscription = ws.subscribe('a', { readerMax: 2 })
    await time.advance(1)
    for (const data of [1, 2, 3]) server.publish('a', data)
    expect(types()).toEqual(['hello', 'unsubscribe'])
    const read = subscription.deliveries()
    await read.next()
    await read.next()
    await time.advance(1)
    // What it missed fills it again.
    expect(types()).toEqual(['hello', 'unsubscribe', 'subscribe', 'unsubscribe'])
    const missed: unknown[] = []
    while (missed.length < 2) {
      const { value } = await read.next()
      if (value?.type === 'message') missed.push(value.data)
    }
    expect(missed).toEqual([2, 3])
  })

  test('a slow reader that leaves holds up the others no longer', async () => {
    const ws = bowline()
    const slow = ws.subscribe('a', { readerMax: 1 })
    const read: unknown[] = []
    ws.subscribe('a', { listener: ({ type }) => read.push(type) })
    await time.advance(1)
    expect(types()).toEqual(['hello', 'unsubscribe'])
    slow.unsubscribe()
    await time.advance(1)
    expect(types()).toEqual(['hello', 'unsubscribe', 'subscribe'])
    server.publish('a', 1)
    expect(read).toEqual(['subscribed', 'subscribed', 'message'])
  })

  test('a refusal that may pass is asked again', async () => {
    server.welcome = {
      subscriptions: {
        a: { error: { code: 'overloaded', message: '', retry: true, retry_after_ms: 1000 } },
      },
    }
    const ws = bowline()
    const errors: unknown[] = []
    ws.on('subscribeerror', ({ error }) => errors.push([error.code, error.retryAfterMs]))
    const { ready } = ws.subscribe('a')
    const found = ends([ready])
    await time.advance(1)
    expect([errors, found]).toEqual([[['overloaded', 1000]], [undefined]])
    await time.advance(7000)
    expect(found[0]).toMatchObject({ recovered: true })
  })
})
