/**
 * What to tell the end user: a title, a sentence and an action for each situation.
 *
 * Owns the choice. The words are a catalogue's.
 */

import type { ErrorClass, Verdict } from '../classify/classify.ts'
import type { Action, CodeRow } from '../codes/table.ts'
import { isOpen, type State } from '../machine/contract.ts'
import { english } from './en.ts'

/** Title and detail. */
export type Words = readonly [title: string, detail: string]

/** The words of one language. */
export interface Catalogue {
  /** By class of error. */
  classes: Record<ErrorClass, Words>
  /** Without a network. */
  offline: Words
  /** Attempts are used up; the client goes on trying now and then. */
  dormant: Words
  /** Nothing is tried any more, for a reason that may pass. */
  stopped: Words
  /** The link is open but does badly. */
  slow: Words
  /** By code: a better detail than the class's. */
  codes?: (code: string) => string | undefined
}

/** For the end user. */
export interface Recommendation {
  title: string
  detail: string
  /** What the user can do; `wait`: nothing, the client recovers by itself. */
  action: Action
  /** When the client tries again, in milliseconds since 1970. */
  retryAt?: number
}

/** The actions of the classes that do not pass by waiting, where no code has one of its own. */
export const ACTIONS: Partial<Record<ErrorClass, Action>> = {
  auth: 'login',
  policy: 'contact',
  protocol: 'reload',
}

/** The situation of a client. */
export interface Situation {
  state: State
  /** What the last failure meant; none since a link was open. */
  verdict: Verdict | undefined
  /** Whether the open link does badly. */
  poor: boolean
  retryAt: number | undefined
}

/**
 * What to tell, or nothing where all is well. `own` is the application's catalogue, `row` what is known
 * of the code of the failure.
 */
export function recommend(
  { state, verdict, poor, retryAt }: Situation,
  own: Catalogue | undefined,
  row: CodeRow | undefined,
): Recommendation | undefined {
  const catalogue = own ?? english
  let words: Words | undefined
  let action: Action = 'wait'
  if (isOpen(state)) words = poor ? catalogue.slow : undefined
  else if (state === 'offline') words = catalogue.offline
  else if (verdict && state === 'dormant') {
    words = catalogue.dormant
    action = 'retry'
  } else if (verdict && state !== 'idle' && state !== 'closed') {
    const blocked = state === 'blocked'
    const asks = ACTIONS[verdict.class]
    const [title, detail] = catalogue.classes[verdict.class]
    const sentence = own ? own.codes?.(verdict.code ?? '') : row?.[1]
    words = [title, sentence ?? detail]
    // What is tried again needs nobody, whatever the class or the code says of a final refusal.
    if (asks && !blocked && !sentence) words = catalogue.classes.network
    if (!asks && blocked) words = catalogue.stopped
    if (blocked) action = row?.[2] ?? asks ?? 'retry'
  }
  if (!words) return undefined
  return {
    title: words[0],
    detail: words[1],
    action,
    ...(retryAt !== undefined && { retryAt }),
  }
}
