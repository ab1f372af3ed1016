/**
 * The tokens of an application: asked for, told apart from other trouble, kept to themselves.
 *
 * Owns why the next one is wanted, and which there were. When one is wanted is the machine's decision.
 */

import type { Evidence } from '../classify/classify.ts'
import { causeOf } from '../shell/cause.ts'
import type { SocketOptions, TokenReason } from './options.ts'

/** Forms of tokens that are kept out of what is told: older ones are in no event any more. */
const FORMS_MAX = 200

/** The tokens of one socket. */
export class Tokens {
  /** The newest one. */
  current: string | undefined
  /** Why the next one is wanted. */
  reason: TokenReason = 'connect'
  readonly #getToken: SocketOptions['getToken']
  /** As they are, and as they stand in a URL. */
  #known: string[] = []
  /** What the application threw instead of the last one. */
  #cause: string | undefined

  constructor(getToken: SocketOptions['getToken']) {
    this.#getToken = getToken
  }

  /** Asks the application. Throws what it throws. */
  async ask(): Promise<string | undefined> {
    const { reason } = this
    this.reason = 'expired'
    this.#cause = undefined
    try {
      this.hold(await this.#getToken?.({ reason }))
    } catch (error) {
      this.#cause = causeOf(error)
      throw error
    }
    return this.current
  }

  /** Takes one. */
  hold(token: string | undefined): void {
    this.current = token
    if (!token) return
    const known = new Set([...this.#known, token, encodeURIComponent(token)])
    this.#known = [...known].slice(-FORMS_MAX)
  }

  /** What is known of the last one, which did not come. */
  failure(retry: boolean): Evidence {
    return { kind: 'token', retry, cause: this.#cause }
  }

  /** The same without any of them: a peer may have echoed one, in the reason of a close for example. */
  hide<T>(told: T): T {
    const hide = (text: string) =>
      this.#known.reduce((text, token) => text.replaceAll(token, '…'), text)
    return JSON.parse(JSON.stringify(told), (name, value) => {
      if (typeof value === 'string') return hide(value)
      if (name !== 'codes') return value
      // A peer gives these names.
      const codes = Object.entries(value ?? {})
      return Object.fromEntries(codes.map(([code, count]) => [hide(code), count]))
    })
  }
}
