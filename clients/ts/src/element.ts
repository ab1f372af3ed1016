/**
 * `@bowline/client/element`: `<connection-status>`, which tells the user how the connection does.
 *
 * Owns the markup and a plain look. Set its property `socket`. It is empty while all is well, unless
 * it has the attribute `always`. Theme it by the custom properties `--connection-status-background`,
 * `-color` and `-accent`, by its parts (`box`, `mark`, `status`, `title`, `detail`, `action`) and by
 * its attribute `state`. The event `action` says which action was chosen: `retry` is done by the
 * element, the others are the application's.
 */

import type { Action, Recommendation, ResilientWebSocket } from './index.ts'

declare global {
  interface HTMLElementTagNameMap {
    /** The element under the name that `define` gives it. */
    'connection-status': ConnectionStatus
  }
}

type ElementListens = HTMLElement['addEventListener']

/** Takes a listener of the event `action`, or of any other. */
interface Listens extends ElementListens {
  (
    type: 'action',
    listener: (event: CustomEvent<Action>) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void
}

/** The words for actions and, with attribute `always`, for a link that does well. */
const LABELS: Record<string, string> = {
  retry: 'Try again',
  login: 'Sign in',
  reload: 'Reload',
  contact: 'Get help',
  open: 'Connected',
}

/** Contrast is above 7:1 in both schemes; the button is as high as a finger needs (WCAG 2.5.5). */
const STYLE = `
:host { display: block; color-scheme: light dark; font: inherit;
  --background: var(--connection-status-background, light-dark(#fff7e0, #33290f));
  --color: var(--connection-status-color, light-dark(#3d2f00, #ffeebf));
  --accent: var(--connection-status-accent, light-dark(#8a5a00, #ffc94d)); }
:host([state=blocked]), :host([state=dormant]) {
  --background: var(--connection-status-background, light-dark(#fdecea, #3a1614));
  --color: var(--connection-status-color, light-dark(#5f1410, #ffdad6));
  --accent: var(--connection-status-accent, light-dark(#a3231c, #ff8a80)); }
:host([state=open]:not([poor])), :host([state=probing]:not([poor])) {
  --background: var(--connection-status-background, light-dark(#e9f6ec, #11301a));
  --color: var(--connection-status-color, light-dark(#12401f, #c9f2d4));
  --accent: var(--connection-status-accent, light-dark(#1e7a3a, #6fdc8f)); }
:host([quiet]) [part=mark], :host([quiet]) [part=action] { display: none; }
[part=box] { display: flex; flex-wrap: wrap; align-items: center; gap: .5em .75em; color: var(--color); }
:host(:not([quiet])) [part=box] { padding: .5em .75em; background: var(--background);
  border-inline-start: .25em solid var(--accent); }
[part=mark] { flex: none; width: .75em; height: .75em; border-radius: 50%; background: var(--accent); }
[part=status] { flex: 1 1 12em; }
[part=action] { min-height: 44px; padding: 0 1em; font: inherit; color: var(--background);
  background: var(--accent); border: 1px solid transparent; border-radius: .375em; cursor: pointer; }
[part=action]:focus-visible { outline: 3px solid var(--color); outline-offset: 2px; }
[hidden] { display: none; }
@media (forced-colors: active) { [part=mark] { forced-color-adjust: none; } }
`

const Base = (globalThis.HTMLElement ?? class {}) as typeof HTMLElement

/** The element. `define` registers it. */
export class ConnectionStatus extends Base {
  static readonly observedAttributes = ['always']
  /** As that of every element; the event `action` is a `CustomEvent<Action>`. */
  declare addEventListener: Listens
  /** As that of every element; the event `action` is a `CustomEvent<Action>`. */
  declare removeEventListener: Listens
  #labels: Record<string, string> = LABELS
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

  /** The words on the button, by action, and those of a link that does well (`open`). */
  get labels(): Record<string, string> {
    return this.#labels
  }

  set labels(labels: Record<string, string>) {
    this.#labels = labels
    this.#render()
  }

  attributeChangedCallback(): void {
    this.#render()
  }

  connectedCallback(): void {
    // What was set before the element was defined hides what the class has by that name.
    const { socket } = this
    delete (this as { socket?: unknown }).socket
    this.socket = socket
  }

  disconnectedCallback(): void {
    this.#stop()
  }

  #start(): void {
    this.#stop()
    const socket = this.#socket
    const changed = () => this.#render()
    if (socket) {
      this.#undo = [socket.on('statechange', changed), socket.on('recommendation', changed)]
    }
    changed()
  }

  #stop(): void {
    for (const call of this.#undo.splice(0)) call()
  }

  #render(): void {
    if (!this.isConnected) return
    const recommendation = this.#socket?.recommendation
    const state = this.#socket?.state ?? 'idle'
    const open = state === 'open' || state === 'probing'
    const told =
      recommendation ??
      (open && this.hasAttribute('always')
        ? { title: this.labels.open ?? '', detail: '', action: 'wait' as const }
        : undefined)
    this.setAttribute('state', state)
    this.toggleAttribute('poor', open && recommendation !== undefined)
    this.toggleAttribute('quiet', told === undefined)
    const root = this.shadowRoot ?? this.attachShadow({ mode: 'open' })
    if (!root.firstChild) this.#build(root)
    this.#fill(root, told ?? { title: '', detail: '', action: 'wait' })
  }

  #build(root: ShadowRoot): void {
    const { document } = globalThis
    const make = (tag: string, part: string) => {
      const child = document.createElement(tag)
      child.setAttribute('part', part)
      return child
    }
    const style = document.createElement('style')
    style.textContent = STYLE
    const box = make('div', 'box')
    const mark = make('span', 'mark')
    mark.setAttribute('aria-hidden', 'true')
    const status = make('div', 'status')
    // Read out when it changes, without taking the focus. It is there while it is empty, too:
    // what comes into the page together with its words is not read out everywhere.
    status.setAttribute('role', 'status')
    status.setAttribute('aria-atomic', 'true')
    for (const [tag, part] of [
      ['strong', 'title'],
      ['span', 'detail'],
    ] as const) {
      status.append(make(tag, part), ' ')
    }
    this.#button = make('button', 'action') as HTMLButtonElement
    this.#button.type = 'button'
    this.#button.addEventListener('click', () => this.#act())
    box.append(mark, status, this.#button)
    root.append(style, box)
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
