/**
 * Events: the platform's own `EventTarget` and `Event` where they exist, a small one elsewhere.
 *
 * Owns the making of events and the `on…` attributes. Must not know which events there are.
 */

type Listener = ((event: Event) => void) | { handleEvent(event: Event): void }

/** A target for runtimes that have none (React Native): listeners in order, `once`, no phases. */
class SmallTarget {
  #listeners = new Map<string, { listener: Listener; once: boolean }[]>()

  addEventListener(
    type: string,
    listener: Listener | null,
    options?: { once?: boolean } | boolean,
  ) {
    const all = this.#listeners.get(type) ?? []
    if (!listener || all.some((known) => known.listener === listener)) return
    const once = typeof options === 'object' && options.once === true
    this.#listeners.set(type, [...all, { listener, once }])
  }

  removeEventListener(type: string, listener: Listener | null) {
    const kept = this.#listeners.get(type)?.filter((known) => known.listener !== listener)
    if (kept) this.#listeners.set(type, kept)
  }

  dispatchEvent(event: Event): boolean {
    Object.assign(event, { target: this, currentTarget: this })
    for (const { listener, once } of this.#listeners.get(event.type) ?? []) {
      if (once) this.removeEventListener(event.type, listener)
      try {
        if (typeof listener === 'function') listener.call(this, event)
        else listener.handleEvent(event)
      } catch (error) {
        // One listener's mistake is not another's, nor the client's: it is reported as uncaught.
        setTimeout(() => {
          throw error
        })
      }
    }
    return true
  }
}

/** What a client extends. */
export const Target = (globalThis.EventTarget ?? SmallTarget) as new () => EventTarget

/** Makes an event with these fields, of the platform's class where it has one. */
export function makeEvent(type: string, fields: object = {}): Event {
  const { Event, MessageEvent, CloseEvent } = globalThis
  const Special = type === 'message' ? MessageEvent : type === 'close' ? CloseEvent : undefined
  const event = Special
    ? new Special(type, fields as never)
    : Event
      ? new Event(type)
      : ({ type } as Event)
  for (const [name, value] of Object.entries(fields)) {
    if (!(name in event)) Object.defineProperty(event, name, { value, enumerable: true })
  }
  return event
}

/** The handlers of `on…` attributes: each takes its place among the listeners when first set. */
export class Handlers {
  readonly #target: EventTarget
  readonly #handlers = new Map<string, unknown>()
  readonly #added = new Set<string>()

  constructor(target: EventTarget) {
    this.#target = target
  }

  read(type: string): never {
    return (this.#handlers.get(type) ?? null) as never
  }

  write(type: string, handler: unknown): void {
    this.#handlers.set(type, typeof handler === 'function' ? handler : null)
    if (this.#added.has(type)) return
    this.#added.add(type)
    this.#target.addEventListener(type, (event) => {
      const call = this.#handlers.get(type)
      if (typeof call === 'function') call.call(this.#target, event)
    })
  }
}
