/**
 * What to tell the end user: a title, a sentence and an action for each situation.
 *
 * Owns the choice. The words are a catalogue's.
 */

import type { ErrorClass, Verdict } from '../classify/classify.ts'
import type { Action } from '../codes/table.ts'
import { isOpen, type State } from '../machine/contract.ts'

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
const ACTIONS: Partial<Record<ErrorClass, Action>> = {
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

/** What to tell, or nothing where all is well. */
export function recommend(
  { state, verdict, poor, retryAt }: Situation,
  catalogue: Catalogue,
  actionOf: (code: string) => Action | undefined,
): Recommendation | undefined {
  const say = ([title, detail]: Words, action: Action): Recommendation => ({
    title,
    detail,
    action,
    ...(retryAt !== undefined && { retryAt }),
  })
  if (isOpen(state)) return poor ? say(catalogue.slow, 'wait') : undefined
  if (state === 'idle' || state === 'closed') return undefined
  if (state === 'offline') return say(catalogue.offline, 'wait')
  if (!verdict) return undefined
  const [title, detail] = catalogue.classes[verdict.class]
  const code = verdict.code ?? ''
  const own: Words = [title, catalogue.codes?.(code) ?? detail]
  if (state === 'dormant') return say(catalogue.dormant, 'retry')
  const action = actionOf(code) ?? ACTIONS[verdict.class] ?? 'wait'
  // What is tried again needs nobody, whatever the code says of a final refusal.
  return say(own, state === 'blocked' ? (action === 'wait' ? 'retry' : action) : 'wait')
}
