// Bundles the package with Metro, React Native's bundler, and runs the bundle where there is only
// what React Native has: WebSocket, timers, fetch and a URL of its own.
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import vm from 'node:vm'
import Metro from 'metro'
import { WebSocket, WebSocketServer } from 'ws'
import { NativeURL } from '../test/unit/lib/native-url.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const app = mkdtempSync(join(tmpdir(), 'bowline-metro-'))
const installed = join(app, 'node_modules/@bowline/client')
mkdirSync(installed, { recursive: true })
// The package as it is published.
const pack = ['pack', '--silent', '--pack-destination', app]
const archive = execFileSync('npm', pack, { cwd: root, encoding: 'utf8' }).trim()
execFileSync('tar', ['-xzf', join(app, archive), '-C', installed, '--strip-components=1'])
writeFileSync(join(app, 'package.json'), '{"name":"app","private":true}')
writeFileSync(
  join(app, 'index.js'),
  `import { connect, ResilientWebSocket } from '@bowline/client'
import { russian } from '@bowline/client/ru'
globalThis.found = { connect, ResilientWebSocket, russian }`,
)

try {
  const usual = await Metro.loadConfig({ cwd: app, resetCache: true, 'max-workers': 1 })
  const config = {
    ...usual,
    projectRoot: app,
    watchFolders: [app, join(root, 'node_modules')],
    maxWorkers: 1,
    cacheStores: [],
    reporter: { update() {} },
    resolver: {
      ...usual.resolver,
      useWatchman: false,
      unstable_enablePackageExports: true,
      nodeModulesPaths: [join(root, 'node_modules')],
    },
    transformer: {
      ...usual.transformer,
      getTransformOptions: async () => ({ transform: { experimentalImportSupport: true } }),
    },
  }
  const { code } = await Metro.runBuild(config, { entry: 'index.js', dev: false, minify: true })
  await run(code)
  console.log(`metro: ${code.length} bytes bundled, and the client talks`)
} finally {
  rmSync(app, { recursive: true, force: true })
}

async function run(code) {
  const http = createServer()
  new WebSocketServer({ server: http, path: '/ws' }).on('connection', (ws) => {
    ws.on('message', (data) => ws.send(`echo ${data}`))
  })
  await new Promise((resolve) => http.listen(0, '127.0.0.1', resolve))
  const { port } = http.address()
  const bare = {
    WebSocket,
    fetch,
    URL: NativeURL,
    setTimeout,
    clearTimeout,
    setInterval,
    clearInterval,
  }
  const context = vm.createContext(bare)
  vm.runInContext(code, context)
  const answer = await vm.runInContext(
    `new Promise((resolve, reject) => {
      setTimeout(() => reject(new Error('no answer')), 10000)
      const ws = new found.ResilientWebSocket('ws://127.0.0.1:${port}/ws')
      ws.onopen = () => ws.send('from Metro')
      ws.onmessage = ({ data }) => { ws.close(); resolve(String(data)) }
    })`,
    context,
  )
  if (answer !== 'echo from Metro') throw new Error(`the bundle answered ${answer}`)
  http.closeAllConnections()
  http.close()
}
// Metro keeps watching; the work is done.
process.exit(0)
