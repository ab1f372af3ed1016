/**
 * `@bowline/client/element`: `<connection-status>`, which tells the user how the connection does.
 *
 * Owns the markup. Set its property `socket`; style it by its parts (`status`, `title`, `detail`,
 * `action`) and by its attribute `state`. The event `action` says which action was chosen: `retry`
 * is done by the element, the others are the application's.
 */

import type { Recommendation, ResilientWebSocket } from './index.ts'

const LABELS: Record<string, string> = {
  retry: 'Try again',
  login: 'Sign in',
  reload: 'Reload',
  contact: 'Get help',
}

const Base = (globalThis.HTMLElement ?? class {}) as typeof HTMLElement

/** The element. `define` registers it. */
export class ConnectionStatus extends Base {
  /** The words on the button, by action. */
  labels: Record<string, string> = LABELS
  #socket: ResilientWebSocket | undefined
  #undo: (() => void)[] = []
  #button: HTMLButtonElement | undefined

  /** The client to tell of. */
  get socket(): ResilientWebSocket | undefined {
    return this.#socket
  }

  set socket(socket: ResilientWebSocket | undefined) {
    this.#stop()
    this.#socket = socket
    if (this.isConnected) this.#start()
  }

  connectedCallback(): void {
    this.#start()
  }

  disconnectedCallback(): void {
    this.#stop()
  }

  #start(): void {
    this.#stop()
    const socket = this.#socket
    if (!socket) return
    const changed = () => this.#render()
    this.#undo = [socket.on('statechange', changed), socket.on('recommendation', changed)]
    changed()
  }

  #stop(): void {
    for (const call of this.#undo.splice(0)) call()
  }

  #render(): void {
    const recommendation = this.#socket?.recommendation
    this.setAttribute('state', this.#socket?.state ?? 'idle')
    this.hidden = recommendation === undefined
    const root = this.shadowRoot ?? this.attachShadow({ mode: 'open' })
    if (!root.firstChild) this.#build(root)
    if (recommendation) this.#fill(root, recommendation)
  }

  #build(root: ShadowRoot): void {
    const { document } = globalThis
    const status = document.createElement('div')
    status.part.add('status')
    // Read out when it changes, without taking the focus.
    status.setAttribute('role', 'status')
    status.setAttribute('aria-live', 'polite')
    for (const [tag, part] of [
      ['strong', 'title'],
      ['span', 'detail'],
    ] as const) {
      const child = document.createElement(tag)
      child.part.add(part)
      status.append(child, ' ')
    }
    this.#button = document.createElement('button')
    this.#button.type = 'button'
    this.#button.part.add('action')
    this.#button.addEventListener('click', () => this.#act())
    root.append(status, this.#button)
  }

  #fill(root: ShadowRoot, { title, detail, action }: Recommendation): void {
    const [first, second] = root.querySelectorAll('[part=status] > *')
    // Changed only where it differs: screen readers read every change out.
    if (first && first.textContent !== title) first.textContent = title
    if (second && second.textContent !== detail) second.textContent = detail
    if (!this.#button) return
    this.#button.hidden = action === 'wait'
    this.#button.textContent = this.labels[action] ?? action
  }

  #act(): void {
    const action = this.#socket?.recommendation?.action
    this.dispatchEvent(new CustomEvent('action', { detail: action, bubbles: true, composed: true }))
    if (action === 'retry') this.#socket?.retryNow()
  }
}

/** Registers the element. */
export function define(name = 'connection-status'): void {
  if (!customElements.get(name)) customElements.define(name, ConnectionStatus)
}
