/**
 * What a failure means: evidence to class, and class to what a client does.
 *
 * Owns the judgement and how sure it is. Must not know where evidence comes from, nor the table of
 * codes: it is handed in, so that a client for other servers need not carry it.
 */

/** The kind of trouble; each has a strategy of recovery. */
export type ErrorClass =
  | 'auth'
  | 'network'
  | 'server'
  | 'rate_limit'
  | 'policy'
  | 'protocol'
  | 'timeout'

/** What was seen of a failure. */
export type Evidence =
  | { kind: 'close'; code: number; reason: string }
  | { kind: 'http'; status: number; code?: string; retry_after_ms?: number }
  | { kind: 'unreachable' | 'tls' | 'opaque' | 'not_websocket' | 'violation' }
  | { kind: 'handshake_timeout' | 'silence' }
  | { kind: 'token'; retry: boolean }

/** What a failure means. */
export interface Verdict {
  /** The kind of trouble. */
  class: ErrorClass
  /** `certain`: the server said so by name. `guess`: nothing better is known. */
  confidence: 'guess' | 'likely' | 'certain'
  /** The server's name for it. */
  code?: string
  /** The server's advice. */
  retry_after_ms?: number
}

/** What a client does after a failure. */
export type Strategy = 'backoff' | 'new_token' | 'block'

/** The class of a code by its name, if the table has it. */
export type ClassOf = (code: string) => ErrorClass | undefined

/** Judges a failure. */
export function classify(evidence: Evidence, classOf: ClassOf): Verdict {
  switch (evidence.kind) {
    case 'close':
      return judge(readReason(evidence.reason), classOfClose(evidence.code), classOf)
    case 'http':
      return judge(evidence, classOfStatus(evidence.status), classOf)
    case 'unreachable':
      return verdict('network', 'likely')
    case 'not_websocket':
    case 'violation':
      return verdict('protocol', 'likely')
    case 'handshake_timeout':
    case 'silence':
      return verdict('timeout', 'likely')
    case 'token':
      return evidence.retry ? verdict('network') : verdict('auth', 'certain')
    default:
      return verdict('network')
  }
}

/**
 * What a client does about it. A protocol error that is only likely is retried: a proxy or a
 * captive portal in between looks the same and goes away.
 */
export function strategyOf(verdict: Verdict): Strategy {
  if (verdict.class === 'auth') return 'new_token'
  const final =
    verdict.class === 'policy' || (verdict.class === 'protocol' && verdict.confidence === 'certain')
  return final ? 'block' : 'backoff'
}

interface Said {
  code?: unknown
  retry_after_ms?: unknown
}

/** The class that a close code speaks for, if any. */
function classOfClose(code: number): ErrorClass | undefined {
  if (code >= 4400 && code <= 4599) return classOfStatus(code - 4000)
  if ([1000, 1001, 1011, 1012, 1013, 1014].includes(code)) return 'server'
  if ([1002, 1003, 1007, 1009, 1010].includes(code)) return 'protocol'
  return code === 1008 ? 'policy' : undefined
}

/** The class that an HTTP status speaks for, if any. */
function classOfStatus(status: number): ErrorClass | undefined {
  if ([401, 407].includes(status)) return 'auth'
  if ([403, 409, 413, 422, 451].includes(status)) return 'policy'
  if ([408, 504].includes(status)) return 'timeout'
  if (status === 429) return 'rate_limit'
  if (status >= 400 && status < 500) return 'protocol'
  // A redirect or a page instead of an upgrade: a captive portal, mostly.
  return status >= 500 && status < 600 ? 'server' : undefined
}

function readReason(reason: string): Said {
  try {
    const said: unknown = JSON.parse(reason)
    return typeof said === 'object' && said ? said : {}
  } catch {
    return {}
  }
}

/** By the name that was said, where the table has it, else by the number. */
function judge(said: Said, byNumber: ErrorClass | undefined, classOf: ClassOf): Verdict {
  const code = typeof said.code === 'string' ? { code: said.code } : {}
  const byName = code.code === undefined ? undefined : classOf(code.code)
  const judged = byName
    ? verdict(byName, 'certain')
    : verdict(byNumber ?? 'network', byNumber && 'likely')
  return { ...judged, ...code, ...advice(said) }
}

function advice(said: Said): { retry_after_ms?: number } {
  const ms = said.retry_after_ms
  return Number.isSafeInteger(ms) && (ms as number) >= 0 ? { retry_after_ms: ms as number } : {}
}

function verdict(class_: ErrorClass, confidence: Verdict['confidence'] = 'guess'): Verdict {
  return { class: class_, confidence }
}
