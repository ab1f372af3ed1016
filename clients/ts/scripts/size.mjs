// Bundles what the README's recipes import, and holds the sizes (min+gzip) to their bounds: what they
// are today and at most 2 % more, whether or not that is within the goal, so that none grows unseen.
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'

const PLAIN =
  "import { ResilientWebSocket } from './dist/plain.js'; globalThis.x = ResilientWebSocket"
/** What is bundled, its goal and its bound in kB, and what is left out. */
const SIZES = [
  {
    name: 'outbox and resume',
    contents: "import { connect } from './dist/index.js'; globalThis.x = connect",
    goal: 9.0,
    bound: 20.85,
  },
  { name: 'plain server', contents: PLAIN, goal: 5.0, bound: 10.75 },
  {
    name: './react',
    contents: "export * from './dist/react.js'",
    goal: 1.0,
    bound: 0.46,
    external: ['react', './index.js'],
  },
  { name: './idb', contents: "export * from './dist/idb.js'", goal: 1.2, bound: 0.94 },
  { name: './element', contents: "export * from './dist/element.js'", goal: 2.0, bound: 1.63 },
  { name: './ru', contents: "export * from './dist/ru.js'", goal: 2.0, bound: 1.66 },
]

const folder = fileURLToPath(new URL('..', import.meta.url))
let failed = false
for (const { name, contents, goal, bound, external } of SIZES) {
  const size = await measure(contents, external)
  const over = size > bound
  failed ||= over
  const met = size > goal ? `, above its goal of ${goal.toFixed(1)} kB` : ''
  const verdict = over ? ' TOO BIG' : ''
  console.log(
    `${name.padEnd(18)} ${size.toFixed(2)} kB, at most ${bound.toFixed(2)} kB${met}${verdict}`,
  )
}
process.exitCode = failed ? 1 : 0

/** kB, min+gzip, as a bundler makes it of this text. */
async function measure(contents, external = []) {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: folder },
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
