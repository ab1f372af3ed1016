// Bundles what the README's recipes import, and holds the sizes (min+gzip) to their bounds.
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'

const BOUNDS = [
  ['outbox and resume', "import { connect } from './dist/index.js'; globalThis.x = connect", 9.0],
  [
    'plain server',
    "import { ResilientWebSocket } from './dist/plain.js'; globalThis.x = ResilientWebSocket",
    5.0,
  ],
  ['./react', "export * from './dist/react.js'", 1.0, ['react', './index.js']],
  ['./idb', "export * from './dist/idb.js'", 1.2],
  ['./element', "export * from './dist/element.js'", undefined],
  ['./ru', "export * from './dist/ru.js'", undefined],
]

/** kB, min+gzip, as a bundler makes it of this text. */
export async function measure(contents, resolveDir, external = []) {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir },
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    write: false,
    external,
    logLevel: 'error',
  })
  return gzipSync(outputFiles[0].contents, { level: 9 }).length / 1000
}

if (import.meta.url === `file://${process.argv[1]}`) {
  const folder = new URL('..', import.meta.url).pathname
  let failed = false
  for (const [name, contents, bound, external] of BOUNDS) {
    const size = await measure(contents, folder, external)
    const over = bound !== undefined && size > bound
    failed ||= over
    const limit = bound === undefined ? '' : `of ${bound.toFixed(1)} kB`
    console.log(`${name.padEnd(18)} ${size.toFixed(2)} kB ${limit} ${over ? 'TOO BIG' : ''}`)
  }
  process.exitCode = failed ? 1 : 0
}
