// What goes wrong at the edges: late answers, refusals that come twice, runtimes that lack something.
import { beforeEach, describe, expect, test, vi } from 'vitest'
import type { Publication } from '../../src/index.ts'
import { ScriptedServer } from '../../src/testing.ts'
import { begin, bowline, plain, server, time } from './lib/scripted.ts'

beforeEach(begin)

describe('a socket for any server', () => {
  test('takes the binary types of a WebSocket, for the open link too, and no others', async () => {
    const ws = plain()
    await time.advance(1)
    ws.binaryType = 'arraybuffer'
    expect([ws.binaryType, server.link?.binaryType]).toEqual(['arraybuffer', 'arraybuffer'])
    ws.binaryType = 'text' as never
    expect([ws.binaryType, server.link?.binaryType]).toEqual(['arraybuffer', 'arraybuffer'])
  })

  test('counts what waits, whatever it is made of, and rejects it when it is closed', async () => {
    server.refuses = true
    const ws = plain()
    const sent = [ws.send('aé'), ws.send(new Uint8Array(5)), ws.send(new Blob(['1234567']))]
    expect(ws.bufferedAmount).toBe(3 + 5 + 7)
    ws.close()
    for (const promise of sent) {
      await expect(promise).rejects.toMatchObject({ code: 'closed', fate: 'refused' })
    }
    await expect(ws.send('later')).rejects.toMatchObject({ code: 'closed', fate: 'refused' })
    expect(ws.bufferedAmount).toBe(0)
  })

  test('throws as a WebSocket does where nothing may wait for the first link', () => {
    const ws = plain({ maxEnqueuedMessages: 0 })
    expect(() => ws.send('early')).toThrow(expect.objectContaining({ name: 'InvalidStateError' }))
  })

  test('tells its health, and closes once', async () => {
    const ws = plain()
    const closes = vi.fn()
    ws.onclose = closes
    await time.advance(1)
    const unmeasured = { rttMs: undefined, jitterMs: 0, missedProbes: 0, errorRate: 0 }
    expect(ws.health).toEqual({ level: 'good', ...unmeasured })
    ws.close()
    ws.close(4000)
    await time.advance(2000)
    await ws[Symbol.asyncDispose]()
    expect(closes).toHaveBeenCalledTimes(1)
  })

  test('without any WebSocket says so by its class of error, and does not spin', async () => {
    const ws = plain({ environment: { WebSocket: undefined }, startClosed: true })
    const causes: unknown[] = []
    ws.on('error', ({ evidence }) => causes.push(evidence))
    ws.reconnect()
    await time.advance(1)
    const cause = 'TypeError: option WebSocket is needed here'
    expect(causes).toEqual([{ kind: 'violation', cause }])
    expect([ws.state, ws.statistics.classes]).toEqual(['waiting', { protocol: 1 }])
  })

  test('a dial that the application no longer wants is not made', async () => {
    let tell: (url: string) => void = () => {}
    const url = () => new Promise<string>((resolve) => (tell = resolve))
    const ws = plain({}, url)
    await time.advance(1)
    ws.close()
    tell('ws://test/ws')
    await time.advance(10)
    expect([ws.state, server.dialled.length]).toEqual(['closed', 0])
  })

  test('offline while it dials: the failure waits for the network', async () => {
    server.silent = true
    const ws = plain({ connectionTimeout: 1000 })
    await time.advance(1)
    server.hint('offline')
    await time.advance(1100)
    expect(ws.state).toBe('offline')
    server.silent = false
    await time.advance(600_000)
    expect([ws.state, server.dialled.length]).toEqual(['offline', 1])
    server.hint('online')
    await time.advance(200)
    expect(ws.state).toBe('open')
  })
})

describe('a Bowline server', () => {
  test('that answers twice, or too late, confuses nobody', async () => {
    const ws = bowline()
    await time.advance(1)
    const read = vi.fn()
    ws.subscribe('a', { listener: read })
    await time.advance(1)
    read.mockClear()
    const link = server.link
    link?.say({ type: 'subscribed', id: 999, channel: 'a', recovered: true })
    link?.say({ type: 'subscribed', id: 999, channel: 'never', recovered: true })
    link?.say({ type: 'gap', channel: 'never', reason: 'slow' })
    link?.say({ type: 'message', channel: 'never', data: 1 })
    link?.say({ type: 'reply', id: 999, data: 1 }, { type: 'reply', seq: 999, data: 1 })
    link?.say({ type: 'error', id: 999, code: 'forbidden' })
    link?.say({ type: 'error', seq: 999, code: 'forbidden' })
    link?.say({ type: 'reply', seq: 1, data_b64: 'not base64!' })
    expect(read).not.toHaveBeenCalled()
    expect(ws.state).toBe('open')
    await ws.publish('a', 'goes on')
  })

  test('an error of nothing in particular is an event', async () => {
    const ws = bowline()
    const codes: unknown[] = []
    ws.on('error', ({ code }) => codes.push(code))
    await time.advance(1)
    server.link?.say({ type: 'error', code: 'unknown_type', message: 'What?' })
    expect([codes, ws.state]).toEqual([['unknown_type'], 'open'])
  })

  test('volatile messages are answered once, by what they were', async () => {
    const ws = bowline()
    await time.advance(1)
    const published = ws.publish('a', 1, { volatile: true })
    const sent = ws.send(2, { method: 'm', volatile: true })
    expect([published.progress, sent.progress]).toEqual(['sent', 'sent'])
    await Promise.all([published, sent])
    expect([await published.reply, await sent.reply]).toEqual([{}, null])
    const wrote = server.link?.received.slice(1).map(({ id, ...rest }) => [typeof id, rest])
    expect(wrote).toEqual([
      ['number', { type: 'publish', channel: 'a', data: 1 }],
      ['number', { type: 'send', data: 2, method: 'm' }],
    ])
  })

  test('answers that never come are given up, oldest first', async () => {
    const ws = bowline({ outbox: { messagesMax: 2 } })
    await time.advance(1)
    const sent: ReturnType<typeof ws.send>[] = []
    for (const data of [1, 2, 3]) {
      sent.push(ws.send(data))
      await time.advance(1)
    }
    await expect(sent[0]?.reply).rejects.toMatchObject({ code: 'reply_lost' })
    server.link?.say({ type: 'reply', seq: 2, data: 'two' }, { type: 'reply', seq: 1, data: 'one' })
    expect(await sent[1]?.reply).toBe('two')
    expect(await Promise.all(sent)).toEqual([undefined, undefined, undefined])
  })

  test('a message that is refused again for good is dropped once', async () => {
    const ws = bowline()
    await time.advance(1)
    const dropped: unknown[] = []
    ws.on('drop', ({ fate, reason }) => dropped.push([fate, reason]))
    server.answer = () => {}
    const sent = ws.publish('a', 1)
    const refusal = { type: 'error', seq: 1, code: 'forbidden', message: 'no', retry: false }
    server.link?.say(refusal, refusal, refusal)
    await expect(sent).rejects.toMatchObject({ code: 'forbidden', fate: 'refused' })
    expect(dropped).toEqual([['refused', 'forbidden']])
    expect(sent.progress).toBe('dropped')
  })

  test('a reader of deliveries is told the refusal, a reader of messages has it thrown', async () => {
    server.answer = (link, message) => {
      if (message.type === 'hello') ScriptedServer.prototype.answer.call(server, link, message)
      else link.say({ type: 'error', id: message.id, code: 'forbidden', message: 'no' })
    }
    const ws = bowline()
    await time.advance(1)
    const found: unknown[] = []
    const subscription = ws.subscribe('secret')
    const whole = (async () => {
      for await (const delivery of subscription.deliveries()) found.push(delivery.type)
    })()
    await expect(subscription.ready).rejects.toMatchObject({ code: 'forbidden' })
    await whole
    expect(found).toEqual(['refused'])
    const read = async () => {
      for await (const _ of ws.subscribe('secret')) break
    }
    await expect(read()).rejects.toMatchObject({ code: 'forbidden', retry: false })
  })

  test('a reader gets publications without the words of the wire', async () => {
    const ws = bowline()
    await time.advance(1)
    const subscription = ws.subscribe('a')
    await subscription.ready
    const first = (async (): Promise<Publication | undefined> => {
      for await (const publication of subscription) return publication
      return undefined
    })()
    server.publish('a', { text: 'hi' })
    const position = '00000000000000aa.1.00000001'
    expect(await first).toEqual({ channel: 'a', position, data: { text: 'hi' } })
    expect(server.link?.received.at(-1)).toEqual({ type: 'unsubscribe', channel: 'a' })
  })

  test('a store that can load nothing is no reason to stop', async () => {
    const store = {
      load: () => Promise.reject(new Error('no disk')),
      save: () => Promise.reject(new Error('no disk')),
      release: vi.fn(),
    }
    const ws = bowline({ store })
    await time.advance(1)
    await ws.publish('a', 1)
    ws.close()
    await time.advance(10)
    expect(store.release).toHaveBeenCalledTimes(1)
  })
})

test('a link whose frame can not be read is closed with 1002, and another one is dialled', async () => {
  const ws = bowline()
  await time.advance(1)
  const link = server.link!
  const codes: unknown[] = []
  const close = link.close.bind(link)
  link.close = (code, reason) => {
    codes.push(code)
    close(code, reason)
  }
  link.onmessage?.({ data: 'no JSON' })
  await time.advance(5000)
  expect([codes, server.links.has(link), server.links.size]).toEqual([[1002], false, 1])
  expect([ws.state, ws.statistics.classes]).toEqual(['open', { protocol: 1 }])
})
