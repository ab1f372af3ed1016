// A scripted server in virtual time, anew for each test, and clients on it. A file that uses it begins with `beforeEach(begin)`.
import { connect, type ResilientOptions, type ResilientWebSocket } from '../../../src/index.ts'
import { ResilientWebSocket as PlainWebSocket } from '../../../src/plain.ts'
import type { SocketOptions, UrlSource } from '../../../src/socket/options.ts'
import { ScriptedServer, VirtualTime } from '../../../src/testing.ts'

export const ADDRESS = 'ws://test/ws'

export let time: VirtualTime
export let server: ScriptedServer

export function begin(): void {
  time = new VirtualTime()
  server = new ScriptedServer()
}

export function bowline(more: ResilientOptions = {}): ResilientWebSocket {
  return connect(ADDRESS, options(more))
}

export function plain(more: SocketOptions = {}, url: UrlSource = ADDRESS): PlainWebSocket {
  return new PlainWebSocket(url, [], options(more))
}

function options<O extends SocketOptions>(more: O): O {
  const environment = { ...time.environment(server), ...more.environment }
  return { seed: 1, ...more, environment }
}

/** The types of what the newest open link has received. */
export function types(): unknown[] | undefined {
  return server.link?.received.map(({ type }) => type)
}

/** What a client tells of its links, as it comes. */
export function logOf(ws: PlainWebSocket | ResilientWebSocket): string[] {
  const log: string[] = []
  for (const type of ['open', 'close', 'error', 'reconnected', 'lostconnection'] as const) {
    ws.addEventListener(type, (event) =>
      log.push([event.type, 'status' in event ? event.status : ''].join(' ').trim()),
    )
  }
  ws.on('statechange', ({ current }) => log.push(`→${current}`))
  return log
}

/** Takes each promise's end. */
export function ends(promises: Promise<unknown>[]): unknown[] {
  const found: unknown[] = promises.map(() => undefined)
  for (const [index, promise] of promises.entries()) {
    promise.then(
      (value) => {
        found[index] = value ?? 'done'
      },
      (error) => {
        found[index] = error
      },
    )
  }
  return found
}
