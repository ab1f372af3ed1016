// What a page does with a WebSocket. Each scenario runs on the native one and on ours; the logs of
// events must be equal. Runs in the page.

export interface Toolbox {
  log(...words: unknown[]): void
  /** A logged socket. */
  open(path: string, protocols?: string | string[]): WebSocket
  until(condition: () => boolean): Promise<void>
  closed(ws: WebSocket): Promise<void>
  opened(ws: WebSocket): Promise<void>
  url: string
  /** Where nobody listens. */
  nobody: string
  make(url: string, protocols?: string | string[]): WebSocket
}

type Scenario = (kit: Toolbox) => Promise<void>

const echo =
  (
    data: string | ArrayBuffer | Uint8Array<ArrayBuffer> | Blob,
    binaryType: BinaryType = 'arraybuffer',
  ): Scenario =>
  async ({ open, opened, closed, log }) => {
    const ws = open('/echo')
    ws.binaryType = binaryType
    await opened(ws)
    ws.send(data)
    const event = await new Promise<MessageEvent>((resolve) =>
      ws.addEventListener('message', resolve as never),
    )
    log(event.data instanceof Blob ? 'blob' : event.data instanceof ArrayBuffer ? 'buffer' : 'text')
    log(event.origin.slice(0, 14), event instanceof MessageEvent, event.target === ws)
    ws.close(1000)
    await closed(ws)
  }

const serverCloses =
  (code: number, reason = ''): Scenario =>
  async ({ open, closed }) => {
    await closed(open(`/close/${encodeURIComponent(`${code} ${reason}`)}`))
  }

const refused =
  (path: string): Scenario =>
  async ({ open, closed }) => {
    await closed(open(path))
  }

const clientCloses =
  (code?: number, reason?: string): Scenario =>
  async ({ open, opened, closed, log }) => {
    const ws = open('/echo')
    await opened(ws)
    if (code === undefined) ws.close()
    else ws.close(code, reason)
    log(ws.readyState)
    await closed(ws)
    log(ws.readyState)
  }

const throws =
  (call: (ws: WebSocket) => void): Scenario =>
  async ({ open, opened, closed, log }) => {
    const ws = open('/echo')
    await opened(ws)
    try {
      call(ws)
      log('no error')
    } catch (error) {
      log((error as Error).name, error instanceof DOMException)
    }
    log(ws.readyState)
    ws.close(1000)
    await closed(ws)
  }

const badUrl =
  (url: string): Scenario =>
  async ({ make, log }) => {
    try {
      make(url)
      log('no error')
    } catch (error) {
      log((error as Error).name, error instanceof DOMException)
    }
  }

const dialled =
  (urlOf: (kit: Toolbox) => string): Scenario =>
  async (kit) => {
    const { make, log, until } = kit
    const ws = make(urlOf(kit))
    ws.onerror = (event) => log('error', event.type)
    ws.onclose = ({ code, wasClean }) => log('close', code, wasClean)
    await until(() => ws.readyState === 3)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }

export const scenarios: Record<string, Scenario> = {
  'echo of text': echo('hello'),
  'echo of empty text': echo(''),
  'echo of unicode': echo('größe 部屋 🎈'),
  'echo of a buffer': echo(new Uint8Array([1, 2, 255]).buffer),
  'echo of a view': echo(new Uint8Array([0, 1, 2, 3]).subarray(1, 3)),
  'echo of a blob': echo(new Blob(['blob'])),
  'bytes as blob': echo(new Uint8Array([9]), 'blob'),
  'echo of 100 kB': echo('x'.repeat(100_000)),
  'server closes 1000': serverCloses(1000, 'bye'),
  'server closes 1000 without a reason': serverCloses(1000),
  'server closes 1001': serverCloses(1001, 'away'),
  'server closes 1008': serverCloses(1008, 'policy'),
  'server closes 1011': serverCloses(1011),
  'server closes 1013': serverCloses(1013, 'later'),
  'server closes 3000': serverCloses(3000, 'custom'),
  'server closes 4401': serverCloses(4401, '{"code":"unauthorized"}'),
  'server closes with unicode': serverCloses(4999, 'größe✓'),
  'server closes without a code': refused('/close-none'),
  'upgrade refused 401': refused('/status/401'),
  'upgrade refused 404': refused('/status/404'),
  'upgrade refused 429': refused('/status/429'),
  'upgrade refused 503': refused('/status/503'),
  'upgrade reset': refused('/reset'),
  'nobody listens': dialled(({ nobody }) => nobody),
  'a port that browsers dial for nobody': dialled(() => 'ws://127.0.0.1:9'),
  'client closes': clientCloses(1000),
  'client closes without a code': clientCloses(),
  'client closes 3001 with a reason': clientCloses(3001, 'reason'),
  'client closes 4999': clientCloses(4999, ''),
  'close twice': async ({ open, opened, closed, log }) => {
    const ws = open('/echo')
    await opened(ws)
    ws.close(3000, 'first')
    ws.close(3001, 'second')
    log(ws.readyState)
    await closed(ws)
    ws.close()
    log(ws.readyState)
  },
  'close with 1001 throws': throws((ws) => ws.close(1001)),
  'close with 2999 throws': throws((ws) => ws.close(2999)),
  'close with 5000 throws': throws((ws) => ws.close(5000)),
  'close with a long reason throws': throws((ws) => ws.close(1000, 'x'.repeat(124))),
  'close with 123 bytes does not': throws((ws) => ws.close(1000, 'x'.repeat(123))),
  'a URL that is none': badUrl('http://['),
  'a URL of another scheme': badUrl('ftp://127.0.0.1/'),
  'a URL of http': async ({ url, make, log, opened, closed }) => {
    const ws = make(`${url.replace('ws', 'http')}/echo`)
    await opened(ws)
    log(ws.url.startsWith('ws:'))
    ws.close()
    await closed(ws)
  },
  'url, protocol and extensions': async ({ open, opened, closed, log, url }) => {
    const ws = open('/echo?a=b', ['a', 'b'])
    log(ws.url === `${url}/echo?a=b`, ws.protocol, ws.readyState)
    await opened(ws)
    log(ws.protocol, typeof ws.extensions, ws.readyState)
    ws.close()
    await closed(ws)
  },
  'one protocol as text': async ({ open, opened, closed, log }) => {
    const ws = open('/echo', 'b')
    await opened(ws)
    log(ws.protocol)
    ws.close()
    await closed(ws)
  },
  'a protocol that the server does not speak': refused('/status/400'),
  'messages in order': async ({ open, closed, until, log }) => {
    const seen: unknown[] = []
    const ws = open('/burst')
    ws.addEventListener('message', ({ data }) => seen.push(data))
    await closed(ws)
    await until(() => seen.length === 50)
    log(seen.join())
  },
  'a greeting is not lost': async ({ open, until, closed }) => {
    let count = 0
    const ws = open('/greet')
    ws.addEventListener('message', () => count++)
    await until(() => count === 3)
    ws.close()
    await closed(ws)
  },
  'server closes when asked': async ({ open, opened, closed }) => {
    const ws = open('/echo')
    await opened(ws)
    ws.send('close me')
    await closed(ws)
  },
  'server cuts when asked': async ({ open, opened, closed }) => {
    const ws = open('/echo')
    await opened(ws)
    ws.send('cut me')
    await closed(ws)
  },
  'binaryType takes two words': async ({ open, opened, closed, log }) => {
    const ws = open('/echo')
    log(ws.binaryType)
    ws.binaryType = 'arraybuffer'
    log(ws.binaryType)
    ws.binaryType = 'nonsense' as never
    log(ws.binaryType)
    await opened(ws)
    ws.close()
    await closed(ws)
  },
  'handlers and listeners in their order': async ({ open, closed, log }) => {
    const ws = open('/close/1000')
    ws.addEventListener('close', () => log('first'))
    ws.onclose = () => log('replaced')
    ws.addEventListener('close', () => log('third'))
    ws.onclose = () => log('second')
    await closed(ws)
    log(typeof ws.onclose, ws.onopen)
    ws.onclose = null
    log(ws.onclose)
  },
  'once, signal, handleEvent and removal': async ({ open, closed, log }) => {
    const ws = open('/burst')
    const abort = new AbortController()
    const removed = () => log('removed')
    ws.addEventListener('message', () => log('once'), { once: true })
    ws.addEventListener('message', () => log('aborted'), { signal: abort.signal })
    ws.addEventListener('message', removed)
    ws.removeEventListener('message', removed)
    ws.addEventListener('close', { handleEvent: (event: Event) => log('object', event.type) })
    abort.abort()
    await closed(ws)
  },
  constants: async ({ open, closed, log }) => {
    const ws = open('/close/1000')
    log(ws.CONNECTING, ws.OPEN, ws.CLOSING, ws.CLOSED)
    await closed(ws)
  },
  'send after close is no error': async ({ open, opened, closed, log }) => {
    const ws = open('/echo')
    await opened(ws)
    ws.close()
    ws.send('too late')
    await closed(ws)
    ws.send('much too late')
    log('fine')
  },
}

/** Runs a scenario and answers the log. */
export async function play(
  name: string,
  url: string,
  nobody: string,
  make: (url: string, protocols?: string | string[]) => WebSocket,
): Promise<string[]> {
  const lines: string[] = []
  const log = (...words: unknown[]) => lines.push(words.map(String).join(' '))
  const event = (ws: WebSocket, type: 'open' | 'close') =>
    new Promise<void>((resolve) =>
      ws.addEventListener(type, () => setTimeout(resolve, 5), { once: true }),
    )
  const closes = new WeakMap<WebSocket, Promise<void>>()
  const kit: Toolbox = {
    log,
    url,
    nobody,
    make,
    open(path, protocols) {
      const ws = make(url + path, protocols)
      ws.addEventListener('open', ({ type, target }) => log(type, target === ws, ws.readyState))
      ws.addEventListener('message', ({ type }) => log(type))
      ws.addEventListener('error', (happened) => log(happened.type, happened instanceof Event))
      ws.addEventListener('close', (happened) => {
        const { type, code, reason, wasClean } = happened
        log(type, code, reason, wasClean, ws.readyState, happened instanceof CloseEvent)
      })
      closes.set(ws, event(ws, 'close'))
      return ws
    },
    closed: (ws) => closes.get(ws) ?? event(ws, 'close'),
    opened: (ws) => (ws.readyState === 1 ? Promise.resolve() : event(ws, 'open')),
    async until(condition) {
      while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5))
    },
  }
  await scenarios[name]?.(kit)
  return lines
}
