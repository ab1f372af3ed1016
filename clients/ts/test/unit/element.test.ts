// @vitest-environment happy-dom
// What <connection-status> shows, to eyes and to screen readers.
import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ConnectionStatus, define } from '../../src/element.ts'
import { connect, type ResilientWebSocket } from '../../src/index.ts'
import { russianLabels } from '../../src/ru.ts'
import { ScriptedServer, VirtualTime } from '../../src/testing.ts'

let time: VirtualTime
let server: ScriptedServer
let ws: ResilientWebSocket
let element: ConnectionStatus

beforeAll(() => {
  define()
  define()
})

beforeEach(async () => {
  time = new VirtualTime()
  server = new ScriptedServer()
  ws = connect('ws://test/ws', { seed: 1, environment: time.environment(server) })
  document.body.replaceChildren()
  element = document.createElement('connection-status')
  element.socket = ws
  document.body.append(element)
  await time.advance(1)
})

const part = (name: string) => element.shadowRoot?.querySelector(`[part=${name}]`) as HTMLElement

describe('<connection-status>', () => {
  test('takes a socket that was set before it was defined', () => {
    const early = document.createElement('early-status') as ConnectionStatus
    early.socket = ws
    document.body.append(early)
    customElements.define('early-status', class extends ConnectionStatus {})
    customElements.upgrade(early)
    expect([early.getAttribute('state'), Object.hasOwn(early, 'socket')]).toEqual(['open', false])
    early.socket = undefined
    expect(early.getAttribute('state')).toBe('idle')
  })

  test('is empty while all is well; its live region is there already', () => {
    expect(element.getAttribute('state')).toBe('open')
    expect(element.hasAttribute('quiet')).toBe(true)
    expect(part('status').getAttribute('role')).toBe('status')
    expect(part('status').textContent?.trim()).toBe('')
    expect(part('action').hidden).toBe(true)
    expect(part('mark').getAttribute('aria-hidden')).toBe('true')
  })

  test('tells that all is well where it is asked to', () => {
    element.setAttribute('always', '')
    expect(element.hasAttribute('quiet')).toBe(false)
    expect(part('title').textContent).toBe('Connected')
  })

  test('shows the sentence, and changes nothing that stays the same', async () => {
    server.refuses = true
    const status = part('status')
    server.link?.end()
    expect(part('title').textContent).toBe('Connection lost')
    expect(part('detail').textContent).toBe('Reconnecting.')
    expect(part('action').hidden).toBe(true)
    const changes: unknown[] = []
    const observer = new MutationObserver((records) => changes.push(...records))
    observer.observe(status, { childList: true, subtree: true, characterData: true })
    await time.advance(5000)
    observer.disconnect()
    expect(changes).toEqual([])
    server.refuses = false
    ws.retryNow()
    await time.advance(10)
    expect(status.textContent?.trim()).toBe('')
    expect(part('status')).toBe(status)
  })

  test('offers what the user can do, in the words of the application', () => {
    element.labels = russianLabels
    const chosen: unknown[] = []
    document.body.addEventListener('action', (event) => chosen.push((event as CustomEvent).detail))
    server.link?.end(4401, '{"code":"unauthorized"}', true)
    expect(element.getAttribute('state')).toBe('blocked')
    expect(part('action').textContent).toBe('Войти')
    part('action').click()
    expect(chosen).toEqual(['login'])
    element.labels = {}
    expect(part('action').textContent).toBe('login')
  })

  test('does what it can itself, and follows another socket', async () => {
    const refused = new ScriptedServer()
    refused.refuses = true
    const options = { maxReconnectAttempts: 1, environment: time.environment(refused) }
    const other = connect('ws://other/ws', options)
    element.socket = other
    while (other.state !== 'dormant') await time.advance(500)
    expect(part('action').textContent).toBe('Try again')
    refused.refuses = false
    part('action').click()
    await time.advance(10)
    expect(other.state).toBe('open')
    expect(element.hasAttribute('quiet')).toBe(true)
    expect(element.socket).toBe(other)
    element.remove()
    other.close()
    expect(element.getAttribute('state')).toBe('open')
    element.socket = undefined
    document.body.append(element)
    expect(element.getAttribute('state')).toBe('idle')
  })

  test('follows its attribute and its words when they change later', () => {
    const title = part('title')
    element.setAttribute('always', '')
    expect([element.hasAttribute('quiet'), title.textContent]).toEqual([false, 'Connected'])
    element.labels = russianLabels
    expect(title.textContent).toBe(russianLabels.open)
    expect(element.labels).toBe(russianLabels)
    element.removeAttribute('always')
    expect([element.hasAttribute('quiet'), title.textContent]).toEqual([true, ''])
    server.link?.end(4401, '{"code":"unauthorized"}', true)
    expect(part('action').textContent).toBe('Войти')
    element.labels = { login: 'Log in' }
    expect(part('action').textContent).toBe('Log in')
  })

  test('is empty without a socket, whatever the last one said', async () => {
    server.link?.end(4401, '{"code":"unauthorized"}', true)
    expect(part('action').hidden).toBe(false)
    element.socket = undefined
    element.setAttribute('always', '')
    expect(part('status').textContent?.trim()).toBe('')
    expect(part('action').hidden).toBe(true)
    expect([element.getAttribute('state'), element.hasAttribute('quiet')]).toEqual(['idle', true])
    ws.close()
    await time.advance(10)
    expect(element.getAttribute('state')).toBe('idle')
  })

  test('has its live region before it has a socket', () => {
    const early = document.createElement('connection-status')
    early.labels = russianLabels
    early.setAttribute('always', '')
    expect(early.shadowRoot).toBeNull()
    document.body.append(early)
    expect(early.shadowRoot?.querySelector('[part=status]')?.textContent?.trim()).toBe('')
    early.socket = ws
    expect(early.shadowRoot?.querySelector('[part=title]')?.textContent).toBe(russianLabels.open)
  })
})
