// What a client keeps in a store, and what a later one finds there.
import { beforeEach, describe, expect, test } from 'vitest'
import type { Store, StoredChange, StoredClient } from '../../src/storage/store.ts'
import { begin, bowline, ends, server, time, types } from './lib/scripted.ts'

beforeEach(begin)

/** A store that remembers. */
class MemoryStore implements Store {
  kept: StoredClient | undefined
  saves: StoredChange[] = []
  fails = false
  /** Claims that nobody has let go. */
  held = 0
  loaded: Promise<void> | undefined
  async load() {
    this.held++
    await this.loaded
    return structuredClone(this.kept)
  }
  async save(change: StoredChange) {
    if (this.fails) throw new Error('full')
    this.saves.push(change)
    const { head, put = [], forget = [], positions } = structuredClone(change)
    const before = this.kept ?? {
      session: undefined,
      link: 0,
      next: 1,
      messages: [],
      positions: {},
    }
    const touched = new Set([...forget, ...put.map(({ key }) => key)])
    const messages = [...before.messages.filter(({ key }) => !touched.has(key)), ...put]
    messages.sort((a, b) => a.key - b.key)
    this.kept = { ...before, ...head, messages, positions: { ...before.positions, ...positions } }
  }
  release() {
    this.held--
  }
}

describe('a store', () => {
  test('has a number and its message before they are written', async () => {
    const store = new MemoryStore()
    const ws = bowline({ store })
    await time.advance(1)
    const order: string[] = []
    const save = store.save.bind(store)
    store.save = async (change) => {
      await save(change)
      for (const { seq } of change.put ?? []) order.push(`saved ${seq}`)
    }
    const { link } = server
    const send = link!.send.bind(link)
    link!.send = (data) => {
      order.push(`wrote ${JSON.parse(String(data)).seq}`)
      send(data)
    }
    for (const data of [1, 2]) void ws.publish('a', data)
    await time.advance(500)
    expect(order).toEqual(['saved 1', 'wrote 1', 'saved 2', 'wrote 2'])
    expect(store.kept).toMatchObject({ next: 3, link: 1, messages: [] })
  })

  test('has what was never written, too', async () => {
    server.refuses = true
    const store = new MemoryStore()
    const ws = bowline({ store })
    for (const data of [1, 2]) void ws.publish('a', data)
    await time.advance(10)
    const messages = [1, 2].map((data) => ({
      seq: undefined,
      item: { channel: 'a', data: String(data) },
    }))
    expect(store.kept).toMatchObject({ next: 1, messages })
  })

  test('brings back session, numbers, messages and positions', async () => {
    const store = new MemoryStore()
    const ws = bowline({ store })
    ws.subscribe('a', { listener: () => {} })
    await time.advance(1)
    server.publish('a', 'seen')
    await time.advance(200)
    server.silent = true
    void ws.publish('a', 'written')
    await time.advance(200)
    expect(store.kept?.messages).toMatchObject([{ seq: 1 }])
    // The tab crashes; another life begins.
    const { session } = ws
    server.silent = false
    server.links.clear()
    const again = bowline({ store })
    const seen: unknown[] = []
    again.subscribe('a', {
      from: 'first',
      listener: (delivery) => delivery.type === 'message' && seen.push(delivery.data),
    })
    void again.publish('a', 'new')
    await time.advance(200)
    expect(server.link?.received[0]).toMatchObject({
      session,
      link: 2,
      first: 1,
      next: 2,
      subscribe: { a: '00000000000000aa.1.00000001' },
    })
    expect(seen).toEqual(['written', 'new'])
    again.close()
    await time.advance(10)
    expect(store.kept).toMatchObject({ session: undefined, messages: [] })
  })

  test('has a channel where its slowest reader is', async () => {
    const at = (offset: number) => ({ a: `00000000000000aa.${offset}.00000001` })
    const store = new MemoryStore()
    const ws = bowline({ store })
    const slow = ws.subscribe('a')
    ws.subscribe('a', { listener: () => {} })
    const read = slow.deliveries()
    await time.advance(1)
    for (const data of [1, 2, 3]) server.publish('a', data)
    await time.advance(200)
    expect(store.kept?.positions).toEqual({})
    // The answer and the first are handled when the next one is asked for.
    for (let i = 0; i < 3; i++) await read.next()
    await time.advance(200)
    expect(store.kept?.positions).toEqual(at(1))
    // One that joins has handled what came before it.
    const late = ws.subscribe('a').deliveries()
    server.publish('a', 4)
    await read.next()
    await time.advance(200)
    expect(store.kept?.positions).toEqual(at(2))
    slow.unsubscribe()
    await time.advance(200)
    expect(store.kept?.positions).toEqual(at(2))
    await late.next()
    const waits = late.next()
    await time.advance(200)
    expect(store.kept?.positions).toEqual(at(4))
    ws.unsubscribe('a')
    await waits
  })

  test('forgets where a channel was read that is unsubscribed from', async () => {
    const store = new MemoryStore()
    const ws = bowline({ store })
    const subscription = ws.subscribe('a', { listener: () => {} })
    await time.advance(1)
    server.publish('a', 1)
    await time.advance(200)
    expect(store.kept?.positions).toEqual({ a: '00000000000000aa.1.00000001' })
    subscription.unsubscribe()
    ws.subscribe('a', { from: { last: 5 } })
    expect(server.link?.received.at(-1)).toMatchObject({ position: { last: 5 } })
    ws.unsubscribe('a')
    await time.advance(200)
    expect(store.kept?.positions).toEqual({})
  })

  test('keeps where a channel was read that is given up before its answer', async () => {
    const store = new MemoryStore()
    const position = '00000000000000aa.7.00000001'
    store.kept = { session: undefined, link: 0, next: 1, messages: [], positions: { a: position } }
    const ws = bowline({ store })
    await time.advance(1)
    server.silent = true
    // As an effect does that runs twice.
    ws.subscribe('a').unsubscribe()
    ws.subscribe('a')
    expect(server.link?.received.at(-1)).toMatchObject({ type: 'subscribe', position })
  })

  test('forgets with close() where channels were read', async () => {
    const store = new MemoryStore()
    const ws = bowline({ store })
    ws.subscribe('a', { listener: () => {} })
    await time.advance(200)
    expect(Object.keys(store.kept?.positions ?? {})).toEqual(['a'])
    ws.close()
    await time.advance(20)
    expect(store.kept?.positions).toEqual({})
    ws.reconnect()
    ws.subscribe('a', { from: 'first' })
    await time.advance(20)
    expect(server.link?.received[0]).toMatchObject({ type: 'hello', subscribe: { a: 'first' } })
  })

  test('is let go of before the next life takes it', async () => {
    const store = new MemoryStore()
    const ws = bowline({ store })
    await ws.publish('a', 1)
    await time.advance(200)
    let saved = () => {}
    const { save } = MemoryStore.prototype
    store.save = async (change) => {
      await new Promise<void>((resolve) => {
        saved = resolve
      })
      return save.call(store, change)
    }
    ws.close()
    ws.reconnect()
    const stored = ends([ws.publish('a', 2)])
    await time.advance(100)
    expect([store.held, server.dialled.length]).toEqual([1, 1])
    store.save = save
    saved()
    await time.advance(100)
    expect([store.held, stored]).toEqual([1, ['done']])
    expect(server.link?.received[0]).toMatchObject({ link: 1, first: 1, next: 1 })
    ws.close()
    await time.advance(20)
    expect(store.held).toBe(0)
  })

  test('that fails stops nothing', async () => {
    const store = new MemoryStore()
    store.fails = true
    const found = ends([bowline({ store }).publish('a', 1)])
    await time.advance(100)
    expect(found).toEqual(['done'])
  })

  test('that does not answer stops nothing for longer than five seconds, and has all when it does', async () => {
    const store = new MemoryStore()
    const ws = bowline({ store })
    await time.advance(200)
    let answer = () => {}
    const { save } = store
    store.save = async (change) => {
      await new Promise<void>((resolve) => {
        answer = resolve
      })
      return save.call(store, change)
    }
    const found = ends([ws.publish('a', 1)])
    await time.advance(4999)
    expect(found).toEqual([undefined])
    await time.advance(2)
    expect(found).toEqual(['done'])
    void ws.publish('a', 2)
    await time.advance(1)
    void ws.publish('a', 3)
    await time.advance(1)
    expect([ws.outboxLength, types()]).toEqual([0, ['hello', 'publish', 'publish', 'publish']])
    store.save = save
    answer()
    await time.advance(200)
    expect(store.kept).toMatchObject({ next: 4, messages: [] })
  })

  test('holds nothing back that was published before close()', async () => {
    const store = new MemoryStore()
    const ws = bowline({ store })
    await time.advance(200)
    const { link } = server
    const found = ends([ws.publish('a', 1), ws.publish('a', 2)])
    ws.close()
    await time.advance(200)
    expect(link?.received.map(({ type }) => type)).toEqual(['hello', 'publish', 'publish', 'bye'])
    const unknown = expect.objectContaining({ code: 'closed', fate: 'unknown' })
    expect(found).toEqual([unknown, unknown])
    expect([store.held, store.kept?.messages]).toEqual([0, []])
  })

  test('has messages in their order although the clock is set back between two lives', async () => {
    const store = new MemoryStore()
    const at = (wallMs: number) => bowline({ store, environment: { wallMs: () => wallMs } })
    const written = at(2_000_000)
    await time.advance(200)
    server.silent = true
    void written.publish('a', 'written')
    await time.advance(200)
    // Each life ends by a crash.
    server.links.clear()
    void at(1_000_000).publish('a', 'waits')
    await time.advance(200)
    server.silent = false
    const last = at(1_500_000)
    const sent = last.publish('a', 'new')
    const acked: number[] = []
    last.on('ack', ({ key }) => acked.push(key))
    await time.advance(200)
    expect(server.link?.received[0]).toMatchObject({ first: 1, next: 2 })
    expect(server.link?.received.slice(1)).toMatchObject([
      { seq: 1, data: 'written' },
      { seq: 2, data: 'waits' },
      { seq: 3, data: 'new' },
    ])
    // No message has the name of another one.
    expect([new Set(acked).size, acked.at(-1)]).toEqual([3, sent.key])
    expect(store.kept?.messages).toEqual([])
  })

  test('has at once what was given up on its way: it must not come back', async () => {
    const store = new MemoryStore()
    const ws = bowline({ store })
    await time.advance(10)
    server.silent = true
    void ws.publish('a', 1)
    await time.advance(10)
    expect(store.kept?.messages).toMatchObject([{ seq: 1, item: { data: '1' } }])
    ws.clearOutbox()
    await time.advance(1)
    expect(store.kept?.messages).toMatchObject([{ seq: 1, item: undefined }])
  })

  test('that failed gets everything later, and is not asked all the time', async () => {
    server.refuses = true
    const store = new MemoryStore()
    const ws = bowline({ store })
    void ws.publish('a', 1)
    await time.advance(200)
    store.fails = true
    let tries = 0
    const { save } = store
    store.save = (change) => {
      tries++
      return save.call(store, change)
    }
    void ws.publish('a', 2)
    ws.clearOutbox()
    void ws.publish('a', 3)
    await time.advance(30_000)
    expect(tries).toBeLessThan(15)
    expect(store.kept?.messages).toMatchObject([{ item: { data: '1' } }])
    store.fails = false
    await time.advance(5000)
    expect(store.kept?.messages).toMatchObject([{ item: { data: '3' } }])
    tries = 0
    await time.advance(30_000)
    expect(tries).toBe(0)
  })
})

describe('before the store is read', () => {
  const kept: StoredClient = {
    session: 's'.repeat(32),
    link: 4,
    next: 2,
    messages: [{ key: 1, seq: 1, item: { channel: 'a', data: '"kept"' }, queuedAt: 0 }],
    positions: { a: '00000000000000aa.0.00000001' },
  }
  let store: MemoryStore
  let read: () => void

  beforeEach(() => {
    store = new MemoryStore()
    store.kept = structuredClone(kept)
    store.loaded = new Promise((resolve) => {
      read = resolve
    })
  })

  test('close() ends what waits, lets go of the store, and leaves to the next what is kept', async () => {
    const ws = bowline({ store })
    const sent = ws.publish('a', 1)
    const found = ends([sent, ws.request('m')])
    await time.advance(1)
    ws.close()
    await time.advance(10)
    const closed = expect.objectContaining({ code: 'closed', fate: 'refused' })
    expect([found, sent.progress]).toEqual([[closed, closed], 'dropped'])
    read()
    await time.advance(300_000)
    expect([ws.state, ws.readyState, server.dialled.length]).toEqual(['closed', 3, 0])
    expect([store.held, store.saves, store.kept]).toEqual([0, [], kept])
    expect(ws.outboxLength).toBe(0)
  })

  test('a signal that aborts closes it, too', async () => {
    const abort = new AbortController()
    bowline({ store, signal: abort.signal })
    abort.abort()
    read()
    await time.advance(300_000)
    expect([store.held, server.dialled.length]).toEqual([0, 0])
  })

  test('the client waits five seconds, then goes on as without, and lets go of what comes late', async () => {
    const ws = bowline({ store })
    const found = ends([ws.publish('a', 'new')])
    await time.advance(4999)
    expect([ws.state, server.dialled.length]).toEqual(['idle', 0])
    await time.advance(2)
    expect([ws.state, found]).toEqual(['open', ['done']])
    const { session } = ws
    read()
    await time.advance(10_000)
    expect([store.held, store.saves, store.kept]).toEqual([0, [], kept])
    expect([ws.session, ws.state, server.dialled.length]).toEqual([session, 'open', 1])
    ws.close()
    await time.advance(10)
    expect([types(), store.held, store.saves]).toEqual([undefined, 0, []])
    expect(server.dialled[0]?.received.map(({ type }) => type)).toEqual(['hello', 'publish', 'bye'])
    // The next life finds a store that answers.
    ws.reconnect()
    await time.advance(10)
    expect([ws.session, store.held]).toEqual([kept.session, 1])
  })

  test('reconnect() does not read it once more', async () => {
    const ws = bowline({ store })
    ws.reconnect()
    read()
    await time.advance(10_000)
    expect([store.held, ws.session]).toEqual([1, kept.session])
    ws.close()
    await time.advance(10)
    expect([store.held, store.kept?.session]).toEqual([0, undefined])
  })

  test('a store that never answers holds up each life for as long, and close() at once', async () => {
    const ws = bowline({ store })
    ws.close()
    await time.advance(10)
    expect(ws.readyState).toBe(3)
    ws.reconnect()
    await time.advance(5010)
    expect([ws.state, store.held, store.saves]).toEqual(['open', 1, []])
  })

  test('unsubscribe() takes back what was asked for', async () => {
    const ws = bowline({ store })
    ws.subscribe('a').unsubscribe()
    ws.subscribe('b')
    ws.unsubscribe('b')
    read()
    await time.advance(10)
    expect(server.link?.received[0]?.subscribe).toEqual({})
    expect(types()).not.toContain('subscribe')
  })

  test('a channel that is given up and subscribed to again is read', async () => {
    const ws = bowline({ store: new MemoryStore() })
    ws.subscribe('a').unsubscribe()
    const read: string[] = []
    ws.subscribe('a', { listener: ({ type }) => read.push(type) })
    await time.advance(1)
    server.publish('a', 1)
    expect(read).toEqual(['subscribed', 'message'])
  })

  test('clearOutbox() drops what was kept', async () => {
    const ws = bowline({ store })
    ws.clearOutbox()
    read()
    await time.advance(10)
    expect(types()).toEqual(['hello', 'skip'])
  })

  test('resetSession() leaves the session that was kept', async () => {
    const ws = bowline({ store })
    ws.resetSession()
    read()
    await time.advance(10)
    expect(server.link?.received[0]).toMatchObject({ first: 1, next: 1 })
    expect(server.link?.received[0]?.session).toBeUndefined()
  })

  test('reauthenticate() waits for it', async () => {
    const ws = bowline({ store, startClosed: true })
    ws.reauthenticate()
    await time.advance(10)
    expect(server.dialled).toHaveLength(0)
    read()
    await time.advance(10)
    expect(server.link?.received[0]).toMatchObject({ session: kept.session, link: 5 })
  })
})
