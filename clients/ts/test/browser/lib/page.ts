// Real Chromium, and a site of its own for the client: one page with everything on `window.kit`.

import { existsSync } from 'node:fs'
import { createServer, type Server as HttpServer } from 'node:http'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { type Browser, chromium } from 'playwright-core'

const ENTRY = `
  export { connect, ResilientWebSocket } from './src/index.ts'
  export { idbStore } from './src/idb.ts'
  export { define } from './src/element.ts'
  export { russian } from './src/ru.ts'
  export { made, mount } from './test/browser/react-page.tsx'
  export { scenarios, play } from './test/browser/scenarios.ts'
`
const folder = fileURLToPath(new URL('../../../', import.meta.url))
const places = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser']

/** The browser's path, if there is one. */
export const executablePath = places.find((path) => path && existsSync(path))

export async function launch(options: { bfcache?: boolean } = {}): Promise<Browser> {
  return chromium.launch({
    executablePath: executablePath!,
    args: ['--no-sandbox'],
    ...(options.bfcache && { ignoreDefaultArgs: ['--disable-back-forward-cache'] }),
  })
}

/** Serves the page at `/`, and an empty one at `/other`. */
export async function site(): Promise<{ url: string; close(): void }> {
  const { outputFiles } = await build({
    stdin: { contents: ENTRY, resolveDir: folder, loader: 'ts' },
    bundle: true,
    format: 'iife',
    globalName: 'kit',
    target: 'es2022',
    define: { 'process.env.NODE_ENV': '"development"' },
    write: false,
  })
  const script = outputFiles[0]!.text
  const server: HttpServer = createServer((request, response) => {
    const body =
      request.url === '/'
        ? `<title>kit</title><script>${script}\nwindow.kit = kit</script>`
        : '<title>other</title>'
    response.setHeader('Content-Type', 'text/html; charset=utf-8')
    response.end(`<!doctype html>${body}`)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  return {
    url: `http://127.0.0.1:${port}/`,
    close() {
      server.closeAllConnections()
      server.close()
    },
  }
}
