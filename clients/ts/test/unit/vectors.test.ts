// The codec against the golden vectors of `vectors/messages/`.
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import type { ErrorClass } from '../../src/classify/classify.ts'
import { fromBase64, textOf, utf8, utf8Length } from '../../src/codec/bytes.ts'
import { decode } from '../../src/codec/decode.ts'
import { encode } from '../../src/codec/encode.ts'
import type { ClientMessage } from '../../src/codec/messages.ts'
import { codeRow } from '../../src/codes/codes.ts'
import { english } from '../../src/recommendation/en.ts'
import { ACTIONS, recommend } from '../../src/recommendation/recommendation.ts'

/** The numbers that a `welcome` must have. */
const NUMBERS = [
  'acked',
  'inflight_max',
  'ping_interval_ms',
  'pong_timeout_ms',
  'message_bytes_max',
  'max_reconnect_attempts',
  'session_ttl_ms',
]

interface Vector {
  name: string
  text?: string
  binary_b64?: string
  canonical: boolean
}

const root = new URL('../../../../vectors/', import.meta.url)
const load = (file: string) => JSON.parse(readFileSync(new URL(file, root), 'utf8'))
const client: Vector[] = load('messages/client.json')
const server: Vector[] = load('messages/server.json')

/** The raw text of a field of a one-object frame that is written without white space. */
function raw(text: string, field: string): string | undefined {
  const start = text.indexOf(`"${field}":`)
  if (start < 0) return undefined
  const from = start + field.length + 3
  for (let end = from + 1; end < text.length; end++) {
    if (!',}'.includes(text[end]!)) continue
    try {
      JSON.parse(text.slice(from, end))
      return text.slice(from, end)
    } catch {
      // The value goes on behind a comma or bracket of its own.
    }
  }
  return undefined
}

/** What the machine would have made such a frame of. */
function messageOf(text: string, payload?: Uint8Array): ClientMessage {
  const fields = JSON.parse(text)
  for (const name of ['data', 'ts']) {
    if (name in fields) fields[name] = raw(text, name)
  }
  if (payload) fields.data = payload
  return fields
}

describe('frames to the server', () => {
  // This client's own ids are whole numbers; it never writes one of another form.
  const ownForm = ({ text }: Vector) => !/"id":-1\.50e3/.test(text ?? '')
  const canonical = client.filter((vector) => vector.canonical && ownForm(vector))

  test.each(canonical)('$name', ({ text, binary_b64 }) => {
    if (text !== undefined) {
      // Several objects stand in one frame: the client writes one frame each.
      const objects = text.split('\n')
      expect(objects.map((object) => encode(messageOf(object)))).toEqual(objects)
    } else {
      const frame = new Uint8Array(Buffer.from(binary_b64!, 'base64'))
      const end = frame.indexOf(10)
      const message = messageOf(textOf(frame.subarray(0, end)), frame.subarray(end + 1))
      expect(encode(message)).toEqual(frame)
    }
  })

  test('there are some of every type', () => {
    const types = new Set(canonical.flatMap(({ text }) => text?.match(/(?<="type":")\w+/g) ?? []))
    expect(types.size).toBe(12)
  })
})

describe('frames from the server', () => {
  test.each(server)('$name', ({ text, binary_b64 }) => {
    const bytes = binary_b64 ? new Uint8Array(Buffer.from(binary_b64, 'base64')) : undefined
    const messages = decode(text ?? bytes!)
    expect(messages?.length).toBeGreaterThan(0)
    const header = text ?? textOf(bytes!.subarray(0, bytes!.indexOf(10)))
    const told = parseAll(header)
    expect(messages).toHaveLength(told.length)
    for (const [index, expected] of told.entries()) {
      const { data, data_b64, id, ts, ...rest } = expected
      // What is null is as good as absent.
      const present = Object.entries(rest).filter(([, value]) => value !== null)
      expect(messages![index]).toMatchObject(Object.fromEntries(present))
      if (data !== undefined && data !== null) expect(messages![index]).toMatchObject({ data })
    }
  })

  test('bytes come as bytes, in either form', () => {
    const inline = decode('{"type":"message","channel":"c","data_b64":"AP8="}')
    expect(inline).toEqual([{ type: 'message', channel: 'c', data: new Uint8Array([0, 255]) }])
    const framed = decode(new Uint8Array([...utf8('{"type":"reply","id":3}\n'), 10, 7]))
    expect(framed).toEqual([{ type: 'reply', id: 3, data: new Uint8Array([10, 7]) }])
  })

  test('ts is a whole number, and is answered', () => {
    for (const ts of ['0', '31024', '9007199254740991']) {
      const [ping] = decode(`{"type":"ping","ts":${ts}}`)!
      expect(encode({ type: 'pong', ts: (ping as { ts: string }).ts })).toBe(
        `{"type":"pong","ts":${ts}}`,
      )
    }
    for (const ts of ['{}', '{"toString":1}', '[1]', 'true', '"1"', '1.5', '-1', '1e20']) {
      expect(decode(`{"type":"ping","ts":${ts}}`), ts).toEqual([])
      expect(decode(`{"type":"pong","ts":${ts}}`), ts).toHaveLength(1)
    }
  })

  test('what is no position, and would go into the next hello, is left out with its message', () => {
    const numbers = NUMBERS.map((name) => `"${name}":1`)
    const welcome = (subscriptions: string) =>
      decode(
        `{"type":"welcome","session":"s","resumed":true,${numbers},"subscriptions":${subscriptions}}`,
      )
    for (const position of ['"here"', `"${'0'.repeat(99)}"`, '5', '{}']) {
      const at = `"recovered":true,"position":${position}`
      expect(decode(`{"type":"subscribed","channel":"c",${at}}`)).toEqual([])
      expect(decode(`{"type":"message","channel":"c","data":1,${at}}`)).toEqual([])
      expect(decode(`{"type":"gap","channel":"c",${at}}`)).toEqual([])
      expect(welcome(`{"c":{${at}}}`)).toEqual([])
    }
    expect(welcome('{"c":null}')).toEqual([])
    for (const good of ['null', '{}', '{"c":{"recovered":true,"position":null}}']) {
      expect(welcome(good), good).toHaveLength(1)
    }
  })

  test('what is not understood is left out, what breaks off is refused', () => {
    expect(decode('{"type":"dance"}\n{"type":"ping"}')).toEqual([{ type: 'ping' }])
    expect(decode('{"type":"acked"}')).toEqual([])
    expect(decode('{"type":"acked","seq":1.5}')).toEqual([])
    expect(decode('{"type":"toString"}')).toEqual([])
    expect(decode('{"type":"error","code":"internal","seq":"1"}')).toEqual([])
    // What is null is absent; only data may be nothing.
    const nulls = '{"type":"error","code":"internal","seq":null,"id":null,"retry_after_ms":null}'
    expect(decode(nulls)).toEqual([{ type: 'error', code: 'internal' }])
    const nothing = '{"type":"message","channel":"c","position":null,"data":null}'
    expect(decode(nothing)).toEqual([{ type: 'message', channel: 'c', data: null }])
    for (const text of ['', ' \n', 'hello', '{"type":"ping"', '{"type":"ping"}}']) {
      expect(decode(text), text).toBeUndefined()
    }
    expect(decode(new Uint8Array([123, 125]))).toBeUndefined()
  })

  test('objects may be separated and broken up by any white space', () => {
    const text =
      '{"type":"message", "channel":"}\\" {",\n "data":\t[{}, {"a":"} {"}]} {"type":\n"ping"}{"type":"acked","seq":1}'
    expect(decode(text)).toEqual([
      { type: 'message', channel: '}" {', data: [{}, { a: '} {' }] },
      { type: 'ping' },
      { type: 'acked', seq: 1 },
    ])
  })

  test('a name like __proto__ is only a name', () => {
    const text = '{"type":"message","channel":"__proto__","data":{"__proto__":{"a":1}}}'
    const [message] = decode(text)!
    expect((message as { channel: string }).channel).toBe('__proto__')
    expect(({} as { a?: number }).a).toBeUndefined()
    const subscribe = Object.fromEntries([['__proto__', null]])
    const hello = encode({ type: 'hello', link: 1, first: 1, next: 1, subscribe })
    expect(hello).toContain('"subscribe":{"__proto__":null}')
  })
})

/** All objects of a frame, whatever stands between them. */
function parseAll(text: string): Record<string, unknown>[] {
  const found: Record<string, unknown>[] = []
  let start = 0
  for (let end = 1; end <= text.length; end++) {
    if (text[end - 1] !== '}') continue
    try {
      found.push(JSON.parse(text.slice(start, end)))
      start = end
    } catch {
      // Not yet the end of the object.
    }
  }
  return found
}

describe('bytes', () => {
  test('agree with the platform', () => {
    for (const text of ['', 'plain', 'größe', '部屋', '🎈 and more', 'a\u{10ffff}b']) {
      const bytes = new TextEncoder().encode(text)
      expect(utf8Length(text), text).toBe(bytes.length)
      expect(utf8(text)).toEqual([...bytes])
      expect(textOf(bytes)).toBe(text)
      expect(fromBase64(Buffer.from(bytes).toString('base64'))).toEqual(bytes)
    }
    for (const text of ['A', 'A===', 'AB=C', 'A!==', 'AAAA='])
      expect(fromBase64(text)).toBe(undefined)
  })
})

describe('codes', () => {
  test('the table is that of the vectors', () => {
    const script = fileURLToPath(new URL('../../scripts/codes.mjs', import.meta.url))
    execFileSync(process.execPath, [script, '--check'])
  })

  test('every code of links has its class, sentence and action; others are none of theirs', () => {
    interface Row {
      code: string
      close: number | null
      class: ErrorClass
      sentence: string
      action: string
    }
    const told: Row[] = load('codes.json')
    for (const { code, close, class: class_, sentence, action } of told) {
      const row = codeRow(code)
      if (close === null && code !== 'headers_too_large') {
        expect(row, code).toBeUndefined()
        continue
      }
      const verdict = { class: class_, confidence: 'certain', code } as const
      const situation = { verdict, poor: false, retryAt: undefined }
      expect(row?.[0], code).toBe(class_)
      const blocked = recommend({ ...situation, state: 'blocked' }, undefined, row)
      // What is blocked does not pass by waiting.
      const wanted = action === 'wait' ? 'retry' : action
      const last = class_ in ACTIONS ? sentence : english.stopped[1]
      expect(blocked).toMatchObject({ detail: last, action: wanted })
      const waiting = recommend({ ...situation, state: 'waiting' }, undefined, row)
      // What is tried again asks nothing of the user, as the sentences of some classes do.
      const asks = class_ in ACTIONS && row?.[1] === undefined
      const detail = asks ? english.classes.network[1] : sentence
      expect(waiting).toMatchObject({ detail, action: 'wait' })
    }
    const policy = { class: 'policy', confidence: 'certain', code: 'disconnected' } as const
    const situation = {
      state: 'blocked',
      verdict: policy,
      poor: false,
      retryAt: undefined,
    } as const
    // The application's own words are not mixed with others.
    const own = recommend(situation, english, codeRow('disconnected'))
    expect(own?.detail).toBe(english.classes.policy[1])
    for (const name of ['constructor', '__proto__', '']) expect(codeRow(name)).toBeUndefined()
  })
})
