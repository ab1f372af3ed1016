/**
 * `@bowline/client/idb`: keeps a client in IndexedDB, so that a reload or a crash loses nothing.
 *
 * Owns the database and the lock: of several tabs each holds a place of its own, and a tab that is
 * duplicated takes another place.
 */

import type { Store, StoredChange, StoredClient, StoredMessage } from './index.ts'

/** Tabs that keep something at the same time; further ones keep nothing. */
const PLACES_MAX = 32
const TABLE = 'kept'

/** A store in IndexedDB. Give each server (and user) a name of its own. */
export function idbStore(name = 'bowline'): Store {
  let database: Promise<IDBDatabase> | undefined
  let place = -1
  /** Settled when the place is let go of, of which a store has one at a time. */
  let taken: Promise<void> | undefined
  let end = () => {}
  let free: () => void | Promise<void> = end
  const key = (...parts: unknown[]) => [place, ...parts] as IDBValidKey[]

  const begin = async () => {
    const request = indexedDB.open(name, 1)
    request.onupgradeneeded = () => request.result.createObjectStore(TABLE)
    // Another page wants to delete it, or the browser did.
    return Object.assign(await result(request), { onversionchange: close, onclose: close })
  }
  const open = () => {
    database ??= begin()
    database.catch(close)
    return database
  }
  /** The next use opens it anew. */
  const close = () => {
    database?.then(
      (opened) => opened.close(),
      () => {},
    )
    database = undefined
  }

  return {
    async load(): Promise<StoredClient | undefined> {
      // Each that waited looks whether another one was faster.
      while (taken) await taken
      taken = new Promise((resolve) => {
        end = resolve
      })
      place = await claim(name, (call) => {
        free = call
      })
      if (place < 0) return undefined
      const table = (await open()).transaction(TABLE).objectStore(TABLE)
      const range = IDBKeyRange.bound(key(), key([]))
      const [keys, values] = await Promise.all([
        result(table.getAllKeys(range)),
        result(table.getAll(range)),
      ])
      return assemble(keys as [number, string, (string | number)?][], values)
    },

    async save({ head, put = [], forget = [], positions = {} }: StoredChange): Promise<void> {
      if (place < 0) return
      const durability = put.length || head ? 'strict' : 'relaxed'
      const transaction = (await open()).transaction(TABLE, 'readwrite', { durability })
      const table = transaction.objectStore(TABLE)
      if (head) table.put(head, key('head'))
      for (const message of put) table.put(message, key('message', message.key))
      for (const gone of forget) table.delete(key('message', gone))
      for (const [channel, position] of Object.entries(positions)) {
        if (position === undefined) table.delete(key('position', channel))
        else table.put(position, key('position', channel))
      }
      await new Promise<void>((resolve, reject) => {
        transaction.oncomplete = () => resolve()
        transaction.onabort = () => reject(transaction.error)
      })
    },

    async release() {
      close()
      await free()
      taken = undefined
      end()
    },
  }
}

function assemble(
  keys: [number, string, (string | number)?][],
  values: unknown[],
): StoredClient | undefined {
  const messages: StoredMessage[] = []
  const positions: Record<string, string> = Object.create(null)
  let head: Omit<StoredClient, 'messages' | 'positions'> | undefined
  for (const [index, [, kind, name]] of keys.entries()) {
    if (kind === 'head') head = values[index] as typeof head
    else if (kind === 'message') messages.push(values[index] as StoredMessage)
    else positions[name as string] = values[index] as string
  }
  return head && { ...head, messages, positions }
}

/** The place that this tab had before its reload, or the first that nobody holds; −1: none. */
async function claim(name: string, hold: (release: () => Promise<void>) => void): Promise<number> {
  const remembered = `${name}-place`
  const tab = globalThis.sessionStorage
  const before = Number(tab?.getItem(remembered) ?? -1)
  const places = [before, ...Array(PLACES_MAX).keys()].filter((place) => place >= 0)
  for (const place of places) {
    const mine = await new Promise<boolean>((resolve) => {
      const request = navigator.locks.request(`${name}/${place}`, { ifAvailable: true }, (lock) => {
        resolve(lock !== null)
        return (
          lock &&
          new Promise<void>((end) =>
            hold(() => {
              end()
              return released
            }),
          )
        )
      })
      const released = request.then(
        () => {},
        () => resolve(false),
      )
    })
    if (!mine) continue
    tab?.setItem(remembered, String(place))
    return place
  }
  return -1
}

function result<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })
}
