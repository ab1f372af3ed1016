// What a client makes of what it sees, against `vectors/judgements.json`, as the Rust client does:
// failures, the health of a link, delays.
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { Backoff } from '../../src/backoff/backoff.ts'
import { Rng } from '../../src/backoff/rng.ts'
import { classify, type Evidence, strategyOf } from '../../src/classify/classify.ts'
import { codeRow } from '../../src/codes/codes.ts'
import { Health } from '../../src/health/health.ts'
import { dialerOptions } from '../../src/socket/options.ts'

const file = new URL('../../../../vectors/judgements.json', import.meta.url)
const told = JSON.parse(readFileSync(file, 'utf8'))

/** The longest deadline of a probe in the vectors: the default `pong_timeout`. */
const MOST_US = 10_000_000

describe('judgements', () => {
  test.each(told.verdicts as { evidence: Evidence; verdict: object; strategy: string }[])(
    'of $evidence',
    ({ evidence, verdict, strategy }) => {
      const judged = classify(evidence, (code) => codeRow(code)?.[0])
      expect(judged).toEqual(verdict)
      expect(strategyOf(judged)).toBe(strategy)
    },
  )

  test.each(told.health as any[])('of health: $name', ({ steps }: any) => {
    const health = new Health()
    for (const { measured_us, missed, alive, errors_permille = 0, then } of steps) {
      if (measured_us !== undefined) health.measured(measured_us)
      else if (missed) health.missedProbes++
      else if (alive) health.missedProbes = 0
      expect({
        rtt_us: health.rttUs ?? null,
        jitter_us: health.jitterUs,
        probe_timeout_us: health.probeTimeoutUs(MOST_US),
        level: health.level(errors_permille),
      }).toEqual(then)
    }
  })

  test.each(told.backoff as any[])('of delays: $name', ({ seed, config, calls }: any) => {
    const usual = dialerOptions({})
    const backoff = new Backoff({
      ...usual,
      backoffMinMs: config.min_ms ?? usual.backoffMinMs,
      backoffMaxMs: config.max_ms ?? usual.backoffMaxMs,
      minUptimeMs: config.min_uptime_ms ?? usual.minUptimeMs,
    })
    const rng = new Rng(seed)
    for (const { at_ms, call, advice_ms, then } of calls) {
      let delay: number | null = null
      if (call === 'opened') backoff.opened(at_ms * 1000)
      else if (call === 'proved') backoff.proved()
      else if (call === 'hinted') delay = backoff.hinted(rng)
      else delay = backoff.failed(at_ms * 1000, advice_ms, rng)
      const { failures, errorsPermille: errors_permille } = backoff
      expect({ delay_ms: delay, failures, errors_permille }).toEqual(then)
    }
  })
})
