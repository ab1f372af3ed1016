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
  | { kind: 'unreachable' | 'tls' | 'opaque' | 'not_websocket' }
  /** `cause`: what the platform, or the application's part, threw. */
  | { kind: 'violation'; cause?: string }
  | { kind: 'handshake_timeout' | 'silence' }
  /** It was given up from this side, and says nothing of the path. */
  | { kind: 'given_up' }
  | { kind: 'token'; retry: boolean; cause?: string | undefined }

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

/** Close codes (RFC 6455, 7.4) and HTTP statuses that speak for a class. */
const NUMBERS: Partial<Record<ErrorClass, number[]>> = {
  auth: [401, 407],
  policy: [403, 409, 413, 422, 451, 1008],
  timeout: [408, 504],
  rate_limit: [429],
  protocol: [1002, 1003, 1007, 1009, 1010],
  server: [1000, 1001, 1011, 1012, 1013, 1014],
}
/** What was seen without a number. Everything else is a guess: the network. */
const KINDS: Partial<Record<Evidence['kind'], ErrorClass>> = {
  unreachable: 'network',
  not_websocket: 'protocol',
  violation: 'protocol',
  handshake_timeout: 'timeout',
  silence: 'timeout',
}

/** Judges a failure. */
export function classify(evidence: Evidence, classOf: ClassOf): Verdict {
  if (evidence.kind === 'close') {
    const { code, reason } = evidence
    // From 4400 to 4599 they are 4000 and an HTTP status.
    return judge(readReason(reason), code >= 4400 && code <= 4599 ? code - 4000 : code, classOf)
  }
  if (evidence.kind === 'http') return judge(evidence, evidence.status, classOf)
  if (evidence.kind === 'token' && !evidence.retry) return verdict('auth', 'certain')
  return verdict(KINDS[evidence.kind], 'likely')
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

function readReason(reason: string): Said {
  try {
    return JSON.parse(reason) ?? {}
  } catch {
    return {}
  }
}

/** By the name that was said, where the table has it, else by the number. */
function judge({ code, retry_after_ms: ms }: Said, number: number, classOf: ClassOf): Verdict {
  const isNamed = typeof code === 'string'
  const byName = isNamed ? classOf(code) : undefined
  return {
    ...(byName ? verdict(byName, 'certain') : verdict(classOfNumber(number), 'likely')),
    ...(isNamed && { code }),
    ...(Number.isSafeInteger(ms) && (ms as number) >= 0 && { retry_after_ms: ms as number }),
  }
}

function classOfNumber(number: number): ErrorClass | undefined {
  for (const [class_, numbers] of Object.entries(NUMBERS)) {
    if (numbers.includes(number)) return class_ as ErrorClass
  }
  // A redirect or a page instead of an upgrade is a captive portal, mostly: it says nothing.
  const hundreds = Math.floor(number / 100)
  return hundreds === 4 ? 'protocol' : hundreds === 5 ? 'server' : undefined
}

function verdict(class_: ErrorClass | undefined, confidence: Verdict['confidence']): Verdict {
  return class_ ? { class: class_, confidence } : { class: 'network', confidence: 'guess' }
}
