/**
 * Reasons to look at the link, as browsers, workers and Node give them.
 *
 * Owns the listening. What follows from a hint is the machine's decision.
 */

import type { EnvironmentHint } from './environment.ts'

/** How often the clock is compared with itself. */
const TICK_MS = 5000
/** A tick that is so late means that the machine slept: longer than any usual stall. */
const LATE_MS = 5000

/** Listens to the globals that exist here. */
export function platformHints(listener: (hint: EnvironmentHint) => void): () => void {
  const undo: (() => void)[] = [watchSleep(listener)]
  const listen = (target: unknown, type: string, call: (event: Event) => void) => {
    const { addEventListener } = (target ?? {}) as Partial<EventTarget>
    if (!addEventListener) return
    addEventListener.call(target as EventTarget, type, call)
    undo.push(() => (target as EventTarget).removeEventListener(type, call))
  }
  const { document, navigator } = globalThis
  listen(document, 'visibilitychange', () => {
    listener(document.visibilityState === 'hidden' ? 'hidden' : 'visible')
  })
  listen(document, 'resume', () => listener('wake'))
  for (const type of ['online', 'offline'] as const) listen(globalThis, type, () => listener(type))
  listen(globalThis, 'focus', () => listener('wake'))
  const hints = { pagehide: 'frozen', pageshow: 'thawed' } as const
  for (const [type, hint] of Object.entries(hints)) {
    listen(globalThis, type, (event) => {
      if ((event as PageTransitionEvent).persisted) listener(hint)
    })
  }
  const connection = (navigator as { connection?: EventTarget } | undefined)?.connection
  listen(connection, 'change', () => listener('network_change'))
  if (document?.visibilityState === 'hidden') listener('hidden')
  return () => {
    for (const call of undo) call()
  }
}

/** Tells when the clock has jumped. A hidden page's timers are throttled: that is no sleep. */
function watchSleep(listener: (hint: EnvironmentHint) => void): () => void {
  let last = Date.now()
  const timer: unknown = setInterval(() => {
    const now = Date.now()
    const slept = now - last > TICK_MS + LATE_MS
    last = now
    if (slept && globalThis.document?.visibilityState !== 'hidden') listener('wake')
  }, TICK_MS)
  // In Node this alone must not keep the process alive.
  if (typeof timer === 'object') (timer as { unref?: () => void }).unref?.()
  return () => clearInterval(timer as number)
}
