/** Looks a code up in the table. Owns nothing but the index. */

import type { ErrorClass } from '../classify/classify.ts'
import { type Action, CODE_TABLE } from './table.ts'

/** A row of the table. */
export interface CodeRow {
  class: ErrorClass
  action: Action
  /** For the end user. */
  sentence: string
}

const ROWS = /* @__PURE__ */ new Map<string, CodeRow>(
  CODE_TABLE.flatMap(([names, class_, action, sentence]) =>
    names.split(' ').map((name) => [name, { class: class_, action, sentence }] as const),
  ),
)

/** The row of a code, if this version knows it. */
export function codeRow(code: string): CodeRow | undefined {
  return ROWS.get(code)
}
