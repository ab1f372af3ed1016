/**
 * One WebSocket: from the dial to its end, told once.
 *
 * Owns the platform's differences: a failed handshake without `close` (Node 20, 22), a `close()`
 * that takes a minute on a dead network. Must not know what messages mean.
 */

import type { Environment, WebSocketConstructor } from '../environment/environment.ts'

/** How long a peer may take to answer a close frame. */
const CLOSE_TIMEOUT_MS = 1000

/** How a link ended. */
export interface LinkEnd {
  code: number
  reason: string
  wasClean: boolean
  /** Whether it was ever open. */
  opened: boolean
  /** Whether the platform said `error` before. */
  errored: boolean
}

/** What a link tells. After `ended` it says nothing more. */
export interface LinkListener {
  opened(): void
  frame(data: unknown): void
  ended(end: LinkEnd): void
}

/** Where and how to dial. */
export interface Destination {
  url: string
  protocols: string[]
  binaryType: BinaryType
  /** What the server must select. */
  subprotocol: string | undefined
}

/** The end of a link that tells nothing of it. */
export const GONE = { code: 1006, reason: '', wasClean: false }

/** What makes a socket here. Throws where nothing does. */
export function constructorOf({ WebSocket }: Environment): WebSocketConstructor {
  if (!WebSocket) throw new TypeError('option WebSocket is needed here')
  return WebSocket
}

/** One link. */
export class Link {
  /** The socket below. */
  readonly socket: WebSocket
  readonly #environment: Environment
  readonly #listener: LinkListener
  #opened = false
  #errored = false
  #timer: unknown
  /** Whether it tells nothing any more. */
  over = false

  /** Dials. Throws what the platform's constructor throws. */
  constructor(
    environment: Environment,
    { url, protocols, binaryType }: Destination,
    listener: LinkListener,
  ) {
    const WebSocket = constructorOf(environment)
    this.#environment = environment
    this.#listener = listener
    // Some implementations take an empty list for a wish.
    this.socket = protocols.length ? new WebSocket(url, protocols) : new WebSocket(url)
    this.socket.binaryType = binaryType
    this.socket.onopen = () => {
      this.#opened = true
      if (!this.over) listener.opened()
    }
    this.socket.onmessage = (event) => {
      if (!this.over) listener.frame(event.data)
    }
    this.socket.onclose = ({ code, reason, wasClean }) => this.#end({ code, reason, wasClean })
    this.socket.onerror = () => {
      this.#errored = true
      // `close` follows, but not everywhere after a failed handshake.
      if (!this.#opened) environment.setTimeout(() => this.#end(GONE), 0)
    }
  }

  /** Writes; nothing happens where the link is not open. */
  send(data: string | BufferSource | Blob): void {
    if (this.socket.readyState === 1) this.socket.send(data)
  }

  /** Closes. The end is told when the peer has answered, or after a second. */
  close(code: number | undefined, reason: string): void {
    const { socket } = this
    try {
      if (code === undefined) socket.close()
      else socket.close(code, reason)
    } catch {
      // A code that only servers may send (1001), or an implementation's own opinion.
      socket.close()
    }
    this.#timer = this.#environment.setTimeout(() => this.#end(GONE), CLOSE_TIMEOUT_MS)
  }

  /** Closes without a word to the listener. */
  abandon(code = 1000): void {
    this.over = true
    this.close(code, '')
  }

  #end(end: typeof GONE): void {
    this.#environment.clearTimeout(this.#timer)
    if (this.over) return
    this.over = true
    this.#listener.ended({ ...end, opened: this.#opened, errored: this.#errored })
  }
}
