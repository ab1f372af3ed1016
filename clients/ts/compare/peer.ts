// A server for all the clients that are compared: an echo, the handshakes of Centrifugo's and Action
// Cable's protocols with their usual pings, and Socket.IO's own server. It keeps what it was told.
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import { type WebSocket, WebSocketServer } from 'ws'

/** From the packages that are compared, which are not this package's. */
const require_ = createRequire(resolve('compare/package.json'))

/** Seconds between pings, as these servers have them when nothing is said. */
const CENTRIFUGO_PING_S = 25
const ACTION_CABLE_PING_S = 3

export async function peer() {
  const received: string[] = []
  const dials = new Map<string, number>()
  const http = createServer((request, response) => {
    const status = Number(/^\/status\/(\d+)/.exec(request.url ?? '')?.[1] ?? 404)
    response.writeHead(status, { 'Access-Control-Allow-Origin': '*' }).end()
  })
  const { Server } = require_('socket.io')
  const sockets = new Server(http, { destroyUpgrade: false, cors: { origin: '*' } })
  sockets.on('connection', (socket: any) => {
    socket.on('say', (text: string) => received.push(`socket.io-client ${text}`))
  })
  const plain = new WebSocketServer({
    noServer: true,
    handleProtocols: ([first]) => first ?? false,
  })
  http.on('upgrade', (request, socket, head) => {
    const path = request.url ?? ''
    const status = /^\/status\/(\d+)/.exec(path)?.[1]
    if (status) {
      dials.set(path, (dials.get(path) ?? 0) + 1)
      socket.end(`HTTP/1.1 ${status} No\r\nConnection: close\r\n\r\n`)
    } else if (!path.startsWith('/socket.io')) {
      plain.handleUpgrade(request, socket, head, (ws) => serve(path.split(/[/?]/)[1] ?? '', ws))
    }
  })

  function serve(kind: string, ws: WebSocket): void {
    ws.on('error', () => {})
    const every = (seconds: number, call: () => void) => {
      const timer = setInterval(call, seconds * 1000)
      ws.on('close', () => clearInterval(timer))
    }
    if (kind === 'anycable') {
      ws.send('{"type":"welcome"}')
      every(ACTION_CABLE_PING_S, () => ws.send(`{"type":"ping","message":${Date.now()}}`))
    }
    if (kind === 'centrifuge') every(CENTRIFUGO_PING_S, () => ws.send('{}'))
    ws.on('message', (data) => {
      const text = String(data)
      if (kind === 'anycable') cable(ws, JSON.parse(text))
      else if (kind === 'centrifuge') for (const line of text.split('\n')) command(ws, line)
      else received.push(`${kind} ${text}`)
    })
  }

  function cable(ws: WebSocket, { command, identifier, data }: Record<string, string>): void {
    if (command === 'subscribe') {
      ws.send(JSON.stringify({ type: 'confirm_subscription', identifier }))
    } else if (command === 'message') received.push(`anycable ${JSON.parse(data ?? '{}').text}`)
  }

  function command(ws: WebSocket, line: string): void {
    const { id, connect, publish } = JSON.parse(line || '{}')
    if (connect) {
      const hello = { client: 'c', version: '6', ping: CENTRIFUGO_PING_S, pong: true }
      ws.send(JSON.stringify({ id, connect: hello }))
    } else if (publish) {
      received.push(`centrifuge ${publish.data}`)
      ws.send(JSON.stringify({ id, publish: {} }))
    }
  }

  await new Promise<void>((done) => http.listen(0, '127.0.0.1', done))
  const { port } = http.address() as { port: number }
  return {
    port,
    received,
    dials,
    close() {
      for (const ws of plain.clients) ws.terminate()
      sockets.close()
      http.closeAllConnections()
    },
  }
}
