// A program of somebody else's, compiled against the built package: `npm run types`.
import { type Action, connect, ResilientWebSocket, type SocketError } from '@bowline/client'
import { ConnectionStatus, define } from '@bowline/client/element'
import { idbStore } from '@bowline/client/idb'
import { ResilientWebSocket as PlainWebSocket } from '@bowline/client/plain'
import { useChannel } from '@bowline/client/react'
import { russian } from '@bowline/client/ru'
import { ScriptedServer, VirtualTime } from '@bowline/client/testing'

declare function takes(socket: WebSocket): void

// Both are taken wherever a WebSocket is, and made as one is.
const url = 'wss://example.org/ws'
takes(new ResilientWebSocket(url))
takes(new PlainWebSocket(new URL(url), ['a', 'b'], { maxRetries: 3, debug: true }))
takes(new PlainWebSocket(() => url, 'a'))
takes(new PlainWebSocket(async ({ token }) => `${url}?token=${token}`))
takes(new PlainWebSocket(Promise.resolve(url)))
const Made: new (url: string | URL, protocols?: string | string[]) => WebSocket = PlainWebSocket
const native: Pick<typeof WebSocket, 'CONNECTING' | 'OPEN' | 'CLOSING' | 'CLOSED'> = PlainWebSocket

const ws = connect(url, {
  // Options of reconnecting-websocket and partysocket.
  maxReconnectionDelay: 10_000,
  minReconnectionDelay: 500,
  reconnectionDelayGrowFactor: 1.5,
  minUptime: 5000,
  connectionTimeout: 4000,
  maxRetries: 5,
  maxEnqueuedMessages: 100,
  startClosed: true,
  debug: false,
  WebSocket,
  store: idbStore('mine'),
  catalogue: russian,
  outbox: { drops: 'oldest' },
})

// Events are typed by their name; `on` answers its undo.
const undo: () => void = ws.on('statechange', ({ previous, current, retryIn }) => {
  const states: string[] = [previous, current, String(retryIn)]
  return void states
})
ws.addEventListener('reconnecting', ({ attempt, delay }) => Math.max(attempt, delay))
ws.onclose = ({ code, reason, wasClean }) => [code, reason, wasClean]
ws.onmessage = function ({ data }) {
  this.send(data)
}

async function use(): Promise<void> {
  for await (const { data, position } of ws.subscribe('chat:7')) [data, position]
  const sent = ws.publish('chat:7', { text: 'hi' })
  const progress: 'queued' | 'sent' | 'acked' | 'dropped' = sent.progress
  await sent.catch((error: SocketError) => [progress, error.fate])
  undo()
  // @ts-expect-error: there is no such event.
  ws.on('reconnectd', () => {})
  // @ts-expect-error: there is no such option.
  connect(url, { maxRetry: 1 })
}

// The element is known by its name, and its event by what it tells.
declare function showLogin(): void
define()
const status = document.querySelector('connection-status')
if (status) {
  status.socket = ws
  status.addEventListener('action', ({ detail }) => detail === 'login' && showLogin())
  const chosen = ({ detail }: CustomEvent<Action>): Action => detail
  status.addEventListener('action', chosen, { once: true })
  status.removeEventListener('action', chosen)
  status.addEventListener('click', ({ clientX }) => clientX)
  status.addEventListener('other', { handleEvent: ({ type }) => type })
  // @ts-expect-error: there is no such action.
  status.addEventListener('action', ({ detail }) => detail === 'logon')
}

void [Made, native, use, useChannel, ConnectionStatus, ScriptedServer, VirtualTime]
