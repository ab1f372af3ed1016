// Writes src/codes/table.ts from vectors/codes.json; with --check it only says whether that is current.
import { readFileSync, writeFileSync } from 'node:fs'

const source = new URL('../../../vectors/codes.json', import.meta.url)
const target = new URL('../src/codes/table.ts', import.meta.url)
const rows = JSON.parse(readFileSync(source, 'utf8'))

const quoted = (text) => (text.includes("'") ? JSON.stringify(text) : `'${text}'`)

// One line for codes that share class, action and sentence, so that the bundle stays small.
const groups = new Map()
for (const { code, class: class_, action, sentence } of rows) {
  const key = JSON.stringify([class_, action, sentence])
  groups.set(key, [...(groups.get(key) ?? []), code])
}
const table = [...groups].map(([key, codes]) => {
  const [class_, action, sentence] = JSON.parse(key)
  return `  [\n    ${quoted(codes.join(' '))},\n    ${quoted(class_)},\n    ${quoted(action)},\n    ${quoted(sentence)},\n  ],\n`
})
const text = `/**
 * Bowline's codes: names, class, what the user is advised to do, and a sentence for the user.
 *
 * Generated from \`vectors/codes.json\` by \`npm run codes\`; changed there and nowhere else.
 */

import type { ErrorClass } from '../classify/classify.ts'

/** What the end user is advised to do. */
export type Action = 'wait' | 'retry' | 'login' | 'reload' | 'contact'

/** Names (separated by spaces), class, action, sentence. */
export const CODE_TABLE: readonly (readonly [string, ErrorClass, Action, string])[] = [
${table.join('')}]

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
