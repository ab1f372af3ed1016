// What an application does inside its listeners means what it means outside.
import { beforeEach, describe, expect, test } from 'vitest'
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
