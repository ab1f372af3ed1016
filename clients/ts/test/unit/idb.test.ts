// The store in IndexedDB, on an implementation in memory.
import 'fake-indexeddb/auto'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { idbStore } from '../../src/idb.ts'

let held: Set<string>
let tab: Map<string, string>

beforeEach(() => {
  held = new Set()
  tab = new Map()
  vi.stubGlobal('navigator', {
    locks: {
      async request(name: string, _: unknown, call: (lock: object | null) => Promise<void> | null) {
        if (held.has(name)) return call(null)
        held.add(name)
        await call({})
        // Another process frees it.
        await new Promise((resolve) => setTimeout(resolve))
        held.delete(name)
      },
    },
  })
  vi.stubGlobal('sessionStorage', {
    getItem: (key: string) => tab.get(key) ?? null,
    setItem: (key: string, value: string) => tab.set(key, value),
  })
})

afterEach(() => vi.unstubAllGlobals())

const head = { session: 's', link: 3, next: 7 }
const message = (key: number) => ({ key, seq: key, item: { channel: 'a', data: '1' }, queuedAt: 5 })

test('what was saved is there in the next life, without what was forgotten', async () => {
  const store = idbStore('one')
  expect(await store.load()).toBeUndefined()
  await store.save({
    head,
    put: [message(1), message(2)],
    positions: { a: 'p', b: 'p', __proto__x: 'q' },
  })
  await store.save({ forget: [1], positions: { a: 'p2', b: undefined } })
  store.release()
  await vi.waitFor(() => expect(held.size).toBe(0))
  const kept = await idbStore('one').load()
  expect(kept).toMatchObject({ ...head, messages: [message(2)] })
  expect({ ...kept?.positions }).toEqual({ a: 'p2', __proto__x: 'q' })
})

test('a second tab has a place of its own, a reloaded one its own again', async () => {
  const first = idbStore('two')
  await first.load()
  await first.save({ head })
  tab = new Map()
  const second = idbStore('two')
  expect(await second.load()).toBeUndefined()
  await second.save({ head: { ...head, session: 'second' } })
  first.release()
  second.release()
  await vi.waitFor(() => expect(held.size).toBe(0))
  expect((await idbStore('two').load())?.session).toBe('second')
})

test('a place that is let go is free when release() has ended', async () => {
  const store = idbStore('four')
  await store.load()
  await store.save({ head })
  await store.release()
  expect(held.size).toBe(0)
  expect(await store.load()).toMatchObject(head)
  expect([...held]).toEqual(['four/0'])
  await store.release()
})

test('a second client of the same store waits until the first one lets it go', async () => {
  const store = idbStore('seven')
  await store.load()
  const second = store.load()
  await store.save({ head })
  expect([...held]).toEqual(['seven/0'])
  await store.release()
  expect(await second).toMatchObject(head)
  expect([...held]).toEqual(['seven/0'])
  await store.release()
  expect(held.size).toBe(0)
})

test('a database that another page deletes is let go of, and opened anew', async () => {
  const store = idbStore('five')
  await store.load()
  await store.save({ head })
  const erase = async () => {
    const request = indexedDB.deleteDatabase('five')
    await new Promise<unknown>((resolve, reject) => {
      request.onsuccess = resolve
      request.onblocked = reject
    })
  }
  await erase()
  await store.save({ head })
  await store.release()
  await erase()
})

test('a database that did not open is asked for again', async () => {
  const store = idbStore('six')
  vi.spyOn(indexedDB, 'open').mockImplementationOnce(() => {
    throw new Error('not now')
  })
  await expect(store.load()).rejects.toThrow('not now')
  await store.save({ head })
  await store.release()
  expect(await store.load()).toMatchObject(head)
})

test('without a free place nothing is kept, and nothing fails', async () => {
  vi.stubGlobal('navigator', { locks: { request: () => Promise.reject(new Error('no')) } })
  const store = idbStore('three')
  expect(await store.load()).toBeUndefined()
  await store.save({ head })
  store.release()
})
