/**
 * Events: the platform's own `EventTarget` and `Event` where they exist, a small one elsewhere.
 *
 * Owns the making of events, the `on…` attributes, and what becomes of a listener's mistake. Must not
 * know which events there are.
 */

type Listener = ((event: Event) => void) | { handleEvent(event: Event): void }

/** A target for runtimes that have none (React Native): listeners in order, `once`, no phases. */
class SmallTarget {
  /** By type: each listener, and whether it is called once. */
  #listeners = new Map<string, Map<Listener, boolean>>()

  addEventListener(
    type: string,
    listener: Listener | null,
    options?: { once?: boolean } | boolean,
  ) {
    const all = this.#listeners.get(type) ?? new Map<Listener, boolean>()
    this.#listeners.set(type, all)
    if (!listener || all.has(listener)) return
    all.set(listener, typeof options === 'object' && options.once === true)
  }

  removeEventListener(type: string, listener: Listener | null) {
    this.#listeners.get(type)?.delete(listener as Listener)
  }

  dispatchEvent(event: Event): boolean {
    Object.assign(event, { target: this, currentTarget: this })
    for (const [listener, once] of [...(this.#listeners.get(event.type) ?? [])]) {
      if (once) this.removeEventListener(event.type, listener)
      attempt(() => {
        if (typeof listener === 'function') listener.call(this, event)
        else listener.handleEvent(event)
      })
    }
    return true
  }
}

/** Calls what is the application's: its mistake is not the client's, and is reported as uncaught. */
export function attempt<T>(call: () => T): T | undefined {
  try {
    return call()
  } catch (error) {
    setTimeout(() => {
      throw error
    })
    return undefined
  }
}

/** What a client extends. */
export const Target = (globalThis.EventTarget ?? SmallTarget) as new () => EventTarget

/** Makes an event with these fields, of the platform's class where it has one. */
export function makeEvent(type: string, fields: object = {}): Event {
  const { Event, MessageEvent, CloseEvent } = globalThis
  const special = { message: MessageEvent, close: CloseEvent }[type] as typeof Event | undefined
  const Class = special ?? Event
  const event = Class ? new Class(type, fields) : ({ type } as Event)
  for (const [name, value] of Object.entries(fields)) {
    if (!(name in event)) Object.defineProperty(event, name, { value, enumerable: true })
  }
  return event
}

/** Gives a class an attribute `on…`: it takes its place among the listeners when first set. */
export function defineHandler(target: EventTarget, type: string): void {
  const handlers = new WeakMap<EventTarget, unknown>()
  Object.defineProperty(target, `on${type}`, {
    enumerable: true,
    configurable: true,
    get(this: EventTarget) {
      return handlers.get(this) ?? null
    },
    set(this: EventTarget, handler: unknown) {
      if (!handlers.has(this)) {
        this.addEventListener(type, (event) => {
          ;(handlers.get(this) as ((event: Event) => void) | null)?.call(this, event)
        })
      }
      handlers.set(this, typeof handler === 'function' ? handler : null)
    },
  })
}
