// What an application does inside its listeners means what it means outside.
import { getEventListeners } from 'node:events'
import { beforeEach, describe, expect, test } from 'vitest'
import type { Delivery } from '../../src/index.ts'
import { begin, bowline, logOf, plain, server, time, types } from './lib/scripted.ts'

beforeEach(begin)

describe.each([
  ['plain', plain, 4000],
  // The server has answered `bye` by then.
  ['bowline', bowline, 1000],
] as const)('in a listener of a socket (%s)', (_, make, code) => {
  test('close() counts at once, and only the first one', async () => {
    const ws = make()
    const states: number[] = []
    const codes: number[] = []
    ws.onclose = (event) => codes.push(event.code)
    ws.onopen = () => {
      ws.close(4000, 'a')
      states.push(ws.readyState)
      ws.close(4001, 'b')
      states.push(ws.readyState)
    }
    await time.advance(2000)
    expect([states, codes, ws.readyState]).toEqual([[2, 2], [code], 3])
  })

  test('close() and reconnect() begin another life', async () => {
    const ws = make()
    const log = logOf(ws)
    const undo = ws.on('open', () => {
      undo()
      ws.close()
      ws.reconnect()
    })
    await time.advance(2000)
    expect([ws.state, ws.readyState, server.links.size, server.dialled.length]).toEqual([
      'open',
      1,
      1,
      2,
    ])
    expect(log.filter((line) => !line.startsWith('→'))).toEqual(['open', 'close', 'open'])
  })

  test('close() before `open` is told leaves it untold', async () => {
    const ws = make()
    const log = logOf(ws)
    ws.on('statechange', ({ current }) => current === 'open' && ws.close())
    await time.advance(2000)
    expect(log.filter((line) => !line.startsWith('→'))).toEqual(['close'])
  })
})

test('reconnect() amid a dial tells of the one that it gives up, and of the next', async () => {
  for (const make of [plain, bowline]) {
    server.silent = true
    const ws = make()
    const log = logOf(ws)
    ws.on('connecting', () => log.push('connecting'))
    await time.advance(10)
    ws.reconnect()
    expect(log).toEqual(['close', 'connecting'])
    expect([ws.statistics.classes, ws.recommendation]).toEqual([{}, undefined])
    await time.advance(10)
    server.silent = false
    ws.reconnect()
    await time.advance(10)
    expect(log.filter((line) => !line.startsWith('→'))).toEqual([
      ...['close', 'connecting', 'close', 'connecting', 'open'],
    ])
    ws.close()
  }
})

test('a channel that is subscribed to behind close() in a listener has ended, and lives later', async () => {
  const ws = bowline()
  const ended: unknown[] = []
  const undo = ws.on('open', () => {
    undo()
    ws.close()
    ws.reconnect()
    void (async () => {
      for await (const message of ws.subscribe('news')) ended.push(message)
      ended.push('end')
    })()
  })
  await time.advance(2000)
  expect([ws.state, ended]).toEqual(['open', ['end']])
  const heard: unknown[] = []
  ws.subscribe('news', { listener: (delivery) => heard.push(delivery.type) })
  await time.advance(10)
  server.publish('news', 1)
  await time.advance(10)
  expect(heard).toEqual(['subscribed', 'message'])
})

test('what was published before close() in a listener is written, and the session ends', async () => {
  const ws = bowline()
  const { received } = await new Promise<{ received: unknown[] }>((resolve) => {
    ws.onopen = () => {
      void ws.publish('news', 1)
      ws.close()
      resolve(server.link as never)
    }
    void time.advance(2000)
  })
  await time.advance(2000)
  expect(received.map((message) => (message as { type: string }).type)).toEqual([
    'hello',
    'publish',
    'bye',
  ])
  expect(types()).toBeUndefined()
})

describe('a channel that is given up and subscribed to again', () => {
  test.each(['open', 'welcome', 'statechange', 'subscribed', 'ack', 'message'] as const)(
    'in a listener of `%s` is read, from where it is wanted',
    async (type) => {
      server.publish('a', 1)
      const ws = bowline()
      const old = ws.subscribe('a')
      const read: unknown[] = []
      const undo = ws.on(type, () => {
        undo()
        old.unsubscribe()
        const listener = (delivery: Delivery) => {
          read.push(delivery.type === 'message' ? delivery.data : delivery.type)
        }
        ws.subscribe('a', { from: 'first', listener })
      })
      await time.advance(1)
      void ws.publish('b', 0)
      server.publish('a', 2)
      await time.advance(1)
      expect(read).toEqual(['subscribed', 1, 2])
      expect(types()?.filter((type) => type === 'subscribe')).toHaveLength(1)
    },
  )

  test('in its own listener is read', async () => {
    const ws = bowline()
    const read: unknown[] = []
    const old = ws.subscribe('a', {
      listener: ({ type }) => {
        read.push(`old ${type}`)
        if (type !== 'message') return
        old.unsubscribe()
        ws.subscribe('a', { listener: ({ type }) => read.push(`new ${type}`) })
      },
    })
    await time.advance(1)
    for (const data of [1, 2]) server.publish('a', data)
    expect(read).toEqual(['old subscribed', 'old message', 'new subscribed', 'new message'])
  })

  test('is not told what became of the earlier one', async () => {
    const error = { code: 'forbidden', message: '', retry: false }
    server.welcome = { subscriptions: { a: { error } } }
    const ws = bowline()
    const old = ws.subscribe('a')
    const read: string[] = []
    ws.on('welcome', () => {
      old.unsubscribe()
      ws.subscribe('a', { listener: ({ type }) => read.push(type) })
    })
    await time.advance(1)
    server.publish('a', 1)
    expect(read).toEqual(['subscribed', 'message'])
  })

  test.each([
    ['ended', { type: 'unsubscribed', channel: 'a', code: 'forbidden' }],
    ['refused', { type: 'error', id: 1, code: 'forbidden', retry: false }],
  ])('with its last item (%s) is asked for anew', async (last, message) => {
    const ws = bowline()
    await time.advance(1)
    const read: string[] = []
    const follow = () =>
      ws.subscribe('a', {
        listener: ({ type }) => {
          read.push(type)
          if (type === last && read.length < 100) follow()
        },
      })
    if (last === 'refused') server.silent = true
    follow()
    server.silent = false
    server.link?.say(message)
    server.publish('a', 1)
    expect(read.slice(-3)).toEqual([last, 'subscribed', 'message'])
    expect(types()).toEqual(['hello', 'subscribe', 'subscribe'])
    expect(read).toHaveLength(last === 'ended' ? 4 : 3)
  })
})

test('listeners that answer each event without end hold up nothing else', async () => {
  const ws = bowline({ outbox: { messagesMax: 0 } })
  let [drops, refusals] = [0, 0]
  ws.on('drop', () => {
    if (++drops < 5000) void ws.publish('a', 1)
  })
  ws.on('subscribeerror', () => {
    if (++refusals < 5000) ws.subscribe('one more')
  })
  await time.advance(1)
  void ws.publish('a', 1)
  for (let n = 0; n <= 1000; n++) ws.subscribe(`c${n}`)
  expect([drops < 5000, refusals < 5000]).toEqual([true, true])
  await time.advance(10)
  expect([drops, refusals]).toEqual([5000, 5000])
})

test('a signal that lives on keeps nothing that has ended', async () => {
  const { signal } = new AbortController()
  const listens = () => getEventListeners(signal, 'abort').length
  const ws = bowline({ signal })
  await time.advance(1)
  expect(listens()).toBe(1)
  ws.subscribe('a', { signal }).unsubscribe()
  ws.subscribe('b', { signal, listener: () => {} })
  const reads = ws.subscribe('c', { signal }).deliveries()
  await time.advance(1)
  expect(listens()).toBe(3)
  server.link?.say({ type: 'unsubscribed', channel: 'b', code: 'forbidden' })
  expect(listens()).toBe(2)
  ws.close()
  await time.advance(10)
  for await (const _ of reads);
  expect(listens()).toBe(0)
  // The next life listens again.
  ws.reconnect()
  expect(listens()).toBe(1)
})
