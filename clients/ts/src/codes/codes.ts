/** Looks a code up in the table. Owns nothing but the look. */

import { CODE_TABLE, type CodeRow } from './table.ts'

/** The row of a code, if this version knows it as one of links. */
export function codeRow(code: string): CodeRow | undefined {
  return Object.hasOwn(CODE_TABLE, code) ? CODE_TABLE[code] : undefined
}
