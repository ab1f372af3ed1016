// Replays the traces of the client's machine in `vectors/client/`.
import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { decode } from '../../src/codec/decode.ts'
import { encode } from '../../src/codec/encode.ts'
import type { ServerMessage } from '../../src/codec/messages.ts'
import { Client } from '../../src/machine/client.ts'
import type { ClientOptions, Input, Output } from '../../src/machine/contract.ts'
import { clientOptions } from '../../src/socket/session.ts'

// Behaviour that is not covered by at least so many traces is not held in step.
const TRACES_MIN = 140

type Json = Record<string, unknown>
interface Step {
  at_ms: number
  in: Json
  out: Json[]
  timer_ms: number | null
}
interface Trace {
  name: string
  seed: number
  options: Json
  steps: Step[]
}

const folder = new URL('../../../../vectors/client/', import.meta.url)
const traces: Trace[] = readdirSync(folder)
  .filter((name) => name.endsWith('.json'))
  .map((name) => JSON.parse(readFileSync(new URL(name, folder), 'utf8')))

function optionsOf(told: Json): ClientOptions {
  const camel = (name: string) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase())
  const named = Object.entries(told).map(([name, value]) => [camel(name), value])
  return { ...clientOptions({}), client: undefined, ...Object.fromEntries(named) }
}

function inputOf(told: Json): Input {
  const { type, key, channel, data, method, token } = told as Record<string, any>
  if (type === 'publish' || type === 'send') {
    return { type: 'queue', key, item: { channel, data: JSON.stringify(data), method } }
  }
  if (type === 'volatile') {
    const request = { type: 'publish' as const, channel, data: JSON.stringify(data) }
    return { type: 'request', key, request }
  }
  if (type === 'refresh') return { type: 'request', key, request: { type, token } }
  if (type === 'history') return { type: 'request', key, request: { type, channel } }
  if (type === 'message') {
    const [message] = decode(JSON.stringify(told.message)) as ServerMessage[]
    return { ...told, message } as Input
  }
  return told as unknown as Input
}

function outputOf(output: Output): Json {
  const message =
    output.type === 'write' ? { message: JSON.parse(encode(output.message) as string) } : {}
  // Absent and undefined are the same here, as on the wire.
  return JSON.parse(JSON.stringify({ ...output, ...message }))
}

function play(trace: Trace): Step[] {
  const client = new Client(trace.seed, optionsOf(trace.options))
  return trace.steps.map((step) => {
    const out = client.handle(step.at_ms * 1000, inputOf(step.in)).map(outputOf)
    const due = client.nextTimeout()
    return { ...step, out, timer_ms: due === undefined ? null : Math.ceil(due / 1000) }
  })
}

describe('traces', () => {
  test('there are enough of them', () => expect(traces.length).toBeGreaterThanOrEqual(TRACES_MIN))

  test.each(traces)('$name is played as told', (trace) => {
    const played = play(trace)
    for (const [index, step] of trace.steps.entries()) {
      expect(played[index], `step ${index}, ${step.in.type}`).toEqual(step)
    }
  })

  test('a planted difference is found', () => {
    for (const trace of traces) {
      const planted = structuredClone(trace)
      planted.steps[0]!.timer_ms = -1
      expect(play(planted)).not.toEqual(planted.steps)
    }
  })
})
