// A TCP proxy that breaks links on demand.
import { connect, createServer, type Server, type Socket } from 'node:net'

export class FaultProxy {
  /** Nothing passes, the sockets stay open. */
  hole = false
  /** New connections are reset. */
  refuse = false
  dials = 0
  readonly #server: Server
  readonly #pairs = new Set<[Socket, Socket]>()

  private constructor(server: Server) {
    this.#server = server
  }

  static async start(port: number): Promise<FaultProxy> {
    const server = createServer()
    const proxy = new FaultProxy(server)
    server.on('connection', (client) => proxy.#accept(client, port))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return proxy
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port}/ws`
  }

  get open(): number {
    return this.#pairs.size
  }

  /** Ends all links: with FIN, or with RST. */
  cut(reset = false): void {
    for (const pair of this.#pairs) {
      for (const socket of pair) reset ? socket.resetAndDestroy() : socket.destroy()
    }
  }

  /** Breaks nothing any more. Links that went through it are not to be trusted, and end. */
  heal(): void {
    this.hole = this.refuse = false
    this.cut()
  }

  async stop(): Promise<void> {
    this.cut()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #accept(client: Socket, port: number): void {
    this.dials++
    if (this.refuse) {
      client.resetAndDestroy()
      return
    }
    const server = connect(port, '127.0.0.1')
    const pair: [Socket, Socket] = [client, server]
    this.#pairs.add(pair)
    for (const [from, to] of [pair, [server, client] as const]) {
      from.setNoDelay(true)
      from.on('data', (bytes) => {
        // What falls into the hole is gone: the link can't be used after it.
        if (!this.hole) to.write(bytes)
      })
      from.on('error', () => {})
      from.on('close', () => {
        this.#pairs.delete(pair)
        if (!this.hole) to.destroy()
      })
    }
  }
}
