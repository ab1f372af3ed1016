/**
 * Why an upgrade failed: browsers hide it, so the same URL is asked over HTTP.
 *
 * Owns the request and what its answer proves (PROTOCOL.md, "GET /ws: the verdict").
 */

import type { Evidence } from '../classify/classify.ts'
import type { Environment } from '../environment/environment.ts'

/** An answer that takes longer is no help. */
const ASK_TIMEOUT_MS = 4000
/** What servers without a verdict answer to a plain `GET`: nothing is learnt from it. */
const SILENT = [400, 404, 405, 426]

/** Asks, and answers with the best evidence there is. */
export async function askWhy(environment: Environment, url: string): Promise<Evidence> {
  const { fetch } = environment
  if (!fetch) return { kind: 'opaque' }
  // Where there is none, the deadline of the dial ends the wait.
  const abort = globalThis.AbortController && new AbortController()
  const timer = environment.setTimeout(() => abort?.abort(), ASK_TIMEOUT_MS)
  const ask = (mode: RequestMode) =>
    fetch(url.replace(/^ws/, 'http'), {
      mode,
      signal: abort?.signal ?? null,
      cache: 'no-store',
      // As the upgrade does: a server that knows its users by cookies would refuse the question alone.
      credentials: 'same-origin',
    })
  try {
    // Nobody is there, or one who does not speak to pages of other origins.
    const evidence = await ask('cors').then(
      (response) => judge(response, environment.wallMs()),
      () => undefined,
    )
    if (evidence) return evidence
    await ask('no-cors')
    return { kind: 'opaque' }
  } catch {
    return { kind: 'unreachable' }
  } finally {
    environment.clearTimeout(timer)
  }
}

async function judge(response: Response, nowMs: number): Promise<Evidence> {
  const { status, ok, headers } = response
  if (SILENT.includes(status)) return { kind: 'opaque' }
  // HTTP passes, and a WebSocket would: something in between takes no upgrades.
  if (ok) return { kind: 'not_websocket' }
  const body = (await response.json().catch(() => null)) as Record<string, unknown> | null
  // Seconds, or a date (RFC 9110, 10.2.3).
  const after = headers.get('retry-after') ?? ''
  const afterMs = /^\d+$/.test(after) ? Number(after) * 1000 : Date.parse(after) - nowMs
  const adviceMs = body?.retry_after_ms ?? afterMs
  return {
    kind: 'http',
    status,
    ...(typeof body?.code === 'string' && { code: body.code }),
    ...(Number.isFinite(adviceMs) && { retry_after_ms: adviceMs as number }),
  }
}
