// Writes src/codes/table.ts from vectors/codes.json; with --check it only says whether that is current.
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const source = new URL('../../../vectors/codes.json', import.meta.url)
const target = new URL('../src/codes/table.ts', import.meta.url)
const rows = JSON.parse(readFileSync(source, 'utf8'))

const quoted = (text) => (text.includes("'") ? JSON.stringify(text) : `'${text}'`)

// What every code of a class says and advises need not be said again.
const { outputFiles } = await build({
  stdin: {
    contents: "export * from './recommendation.ts'; export * from './en.ts'",
    resolveDir: fileURLToPath(new URL('../src/recommendation', import.meta.url)),
  },
  bundle: true,
  format: 'esm',
  write: false,
})
const words = `data:text/javascript;base64,${Buffer.from(outputFiles[0].contents).toString('base64')}`
const { english, ACTIONS } = await import(words)

// Others answer requests and messages; no client judges a link by them.
const ofLinks = rows.filter(({ code, close }) => close !== null || code === 'headers_too_large')
const table = ofLinks.map(({ code, class: class_, action, sentence }) => {
  const own = [english.classes[class_][1] !== sentence, (ACTIONS[class_] ?? 'wait') !== action]
  const row = [quoted(class_)]
  if (own[0] || own[1]) row.push(own[0] ? quoted(sentence) : 'undefined')
  if (own[1]) row.push(quoted(action))
  return `  ${code}: [${row.join(', ')}],\n`
})
const text = `/**
 * Bowline's codes: their names, and what those mean that a link is refused or closed with.
 *
 * Generated from \`vectors/codes.json\` by \`npm run codes\`; changed there and nowhere else.
 */

import type { ErrorClass } from '../classify/classify.ts'

/** What the end user is advised to do. */
export type Action = 'wait' | 'retry' | 'login' | 'reload' | 'contact'

/** Class; sentence for the end user and action, where they are not those of the class. */
export type CodeRow = readonly [class_: ErrorClass, sentence?: string | undefined, action?: Action]

/** What each code means that a link is refused or closed with. */
export const CODE_TABLE: Readonly<Record<string, CodeRow>> = {
${table.join('')}}

/** The name of a refusal, an error or a closure. */
export type Code =
${rows.map(({ code }) => `  | '${code}'`).join('\n')}
`
const current = (() => {
  try {
    return readFileSync(target, 'utf8')
  } catch {
    return ''
  }
})()
if (process.argv.includes('--check')) {
  if (current !== text) {
    console.error('src/codes/table.ts is not that of vectors/codes.json: run npm run codes')
    process.exit(1)
  }
} else {
  writeFileSync(target, text)
}
