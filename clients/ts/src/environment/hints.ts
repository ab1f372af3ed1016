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
  const { document, navigator } = globalThis
  const { connection } = (navigator ?? {}) as { connection?: EventTarget }
  const look = () => listener(document.visibilityState === 'hidden' ? 'hidden' : 'visible')
  const heard: [EventTarget | undefined, string, EnvironmentHint | typeof look][] = [
    [document, 'visibilitychange', look],
    [document, 'resume', 'wake'],
    [globalThis, 'focus', 'wake'],
    [globalThis, 'online', 'online'],
    [globalThis, 'offline', 'offline'],
    [globalThis, 'pagehide', 'frozen'],
    [globalThis, 'pageshow', 'thawed'],
    [connection, 'change', 'network_change'],
  ]
  const undo = [watchSleep(listener)]
  for (const [target, type, hint] of heard) {
    const call = (event: Event) => {
      // A page that comes or goes without the cache is no news.
      if (type.startsWith('page') && !(event as PageTransitionEvent).persisted) return
      if (typeof hint === 'string') listener(hint)
      else hint()
    }
    // Not every runtime's global object has listeners.
    if (!target?.addEventListener) continue
    target.addEventListener(type, call)
    undo.push(() => target.removeEventListener(type, call))
  }
  if (document?.visibilityState === 'hidden') look()
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
