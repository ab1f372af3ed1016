// A WebSocket server for comparisons: the path says how it behaves.
import { createServer } from 'node:http'
import { WebSocketServer } from 'ws'

export async function peer(): Promise<{ url: string; close(): void }> {
  const http = createServer((request, response) => {
    const status = Number(/^\/status\/(\d+)/.exec(request.url ?? '')?.[1] ?? 426)
    response.writeHead(status, { 'Access-Control-Allow-Origin': '*' }).end()
  })
  const sockets = new WebSocketServer({
    noServer: true,
    handleProtocols: (protocols) => (protocols.has('b') ? 'b' : false),
  })
  http.on('upgrade', (request, socket, head) => {
    const path = request.url ?? ''
    const status = /^\/status\/(\d+)/.exec(path)?.[1]
    if (status) {
      socket.end(`HTTP/1.1 ${status} No\r\nConnection: close\r\n\r\n`)
      return
    }
    if (path === '/reset') {
      socket.destroy()
      return
    }
    sockets.handleUpgrade(request, socket, head, (ws) => {
      ws.on('error', () => {})
      const [, verb, argument] = path.split('/')
      if (verb === 'close') {
        const [code, reason = ''] = decodeURIComponent(argument ?? '').split(' ')
        ws.close(Number(code), reason)
      }
      if (verb === 'close-none') ws.close()
      if (verb === 'terminate') ws.terminate()
      if (verb === 'greet') for (const text of ['one', 'two', 'three']) ws.send(text)
      if (verb === 'bytes') ws.send(new Uint8Array([1, 2, 3]))
      if (verb === 'burst') {
        for (let i = 0; i < 50; i++) ws.send(String(i))
        ws.close(1000, 'done')
      }
      ws.on('message', (data, binary) => {
        if (String(data) === 'close me') ws.close(4000, 'as asked')
        else if (String(data) === 'cut me') ws.terminate()
        else ws.send(data, { binary })
      })
    })
  })
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  return {
    url: `ws://127.0.0.1:${(http.address() as { port: number }).port}`,
    close() {
      for (const socket of sockets.clients) socket.terminate()
      http.closeAllConnections()
      http.close()
    },
  }
}
