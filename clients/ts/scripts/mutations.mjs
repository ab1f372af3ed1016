// Plants one wrong condition at a time in a copy of the sources; the unit tests must catch each.
// `npm run mutations` takes minutes; `npm run mutations -- outbox` only those whose file matches (a regular expression).
// With --check it only says whether what each replaces stands in its file once.
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** File, what stands there once, and the wrong condition in its place. */
const MUTATIONS = [
  ['machine/dialer', 'if (this.active || this.dialing) return', 'if (this.active) return'],
  ['machine/dialer', 'missedProbes >= MISSED_PROBES_MAX', 'missedProbes > MISSED_PROBES_MAX'],
  ['machine/dialer', 'active.receivedAt + active.silenceMax <= this.now', 'false'],
  [
    'machine/dialer',
    'this.backoff.failures > this.attemptsMax',
    'this.backoff.failures >= this.attemptsMax',
  ],
  ['machine/dialer', '(this.#hidden && !this.options.dialHidden)', 'this.#hidden'],
  ['machine/dialer', 'if (replaced && link === this.link)', 'if (replaced)'],
  [
    'machine/dialer',
    '++this.#authFailures < AUTH_FAILURES_MAX',
    '++this.#authFailures <= AUTH_FAILURES_MAX',
  ],
  [
    'machine/dialer',
    "if (hint !== 'hidden' && (active.probe?.patient ?? true))",
    "if (hint !== 'hidden')",
  ],
  ['machine/dialer', 'if (dialing && this.#isDue(dialing.deadline))', 'if (dialing && false)'],
  ['machine/dialer', 'if (retry) this.#wait(undefined)', 'if (!retry) this.#wait(undefined)'],
  [
    'machine/dialer',
    '!active || !heartbeat || active.probe',
    '!active || heartbeat || active.probe',
  ],
  ['machine/client', 'this.#requests.size >= this', 'this.#requests.size > this'],
  ['machine/client', 'acked > 0 && !this.options.resendStored', 'acked > 0'],
  ['machine/client', 'if (!this.active || this.#fenced) return', 'if (!this.active) return'],
  ['machine/client', 'this.now - active.receivedAt >= this.options.silenceMs * 1000', 'false'],
  ['machine/client', "reason === 'restart'", 'false'],
  ['machine/client', 'if (this.#changed.has(channel)) {', 'if (false) {'],
  [
    'backoff/backoff',
    'now - (this.#openedAt ?? Number.NaN) >= this.#config.minUptimeMs * 1000',
    'true',
  ],
  ['backoff/backoff', 'if (adviceMs === undefined)', 'if (adviceMs !== 0)'],
  ['classify/classify', 'code >= 4400 && code <= 4599', 'code > 4400 && code <= 4599'],
  [
    'classify/classify',
    "verdict.class === 'protocol' && verdict.confidence === 'certain'",
    "verdict.class === 'protocol'",
  ],
  [
    'classify/classify',
    'Number.isSafeInteger(ms) && (ms as number) >= 0',
    'Number.isSafeInteger(ms)',
  ],
  ['health/health', "this.missedProbes > 1 ? 'dead'", "this.missedProbes > 2 ? 'dead'"],
  ['health/health', 'if (this.#lastUs > 0)', 'if (this.#lastUs >= 0)'],
  [
    'outbox/outbox',
    "return 'message_too_big'",
    "return bytes > 2 * bytesMax ? 'message_too_big' : undefined",
  ],
  ['outbox/outbox', 'this.#cursor >= inflightMax', 'this.#cursor > inflightMax'],
  [
    'outbox/outbox',
    'entry.seq === undefined || entry.seq > seq',
    'entry.seq === undefined || entry.seq >= seq',
  ],
  ['outbox/outbox', 'this.pausedUntil !== undefined && now < this.pausedUntil', 'false'],
  ['outbox/outbox', "entry.doubtful ? 'unknown' : 'refused'", "false ? 'unknown' : 'refused'"],
  ['outbox/outbox', 'if (written && !resend)', 'if (!resend)'],
  ['outbox/outbox', 'queuedAt <= bound', 'queuedAt < bound'],
  ['outbox/outbox', 'findIndex((entry) => !wasWritten(entry))', 'findIndex(() => true)'],
  ['subscriptions/subscriptions', 'if (ahead <= 0)', 'if (ahead < 0)'],
  ['subscriptions/subscriptions', 'this.#all.size >= this.#max', 'this.#all.size > this.#max'],
  [
    'subscriptions/subscriptions',
    'last.offset === 0 && next.offset === 1',
    'last.offset > 0 && next.offset === 1',
  ],
  [
    'subscriptions/subscriptions',
    'distance(position, cursor) ?? 0) > 0',
    'distance(cursor, position) ?? 0) > 0',
  ],
  ['subscriptions/subscriptions', "known && reason === 'expired'", 'known'],
  [
    'subscriptions/subscriptions',
    "if (subscription.phase === 'paused') continue",
    'if (false) continue',
  ],
  ['codec/decode', 'if (fields[name] === null)', 'if (false)'],
  ['codec/decode', 'Number.isSafeInteger(value)', 'Number.isFinite(value)'],
  ['shell/runner', 'if (lateMs < LATE_MS)', 'if (lateMs < 1e9)'],
  ['shell/runner', 'if (this.#hinted) this', 'if (false) this'],
  ['shell/runner', 'filter((link) => !link.over)', 'filter(() => true)'],
  ['shell/runner', 'this.#failedUpgrades > 1', 'this.#failedUpgrades > 2'],
  ['shell/link', 'if (!this.#opened) environment', 'if (this.#opened) environment'],
  [
    'shell/refusal',
    "if (ok) return { kind: 'not_websocket' }",
    "if (!ok) return { kind: 'not_websocket' }",
  ],
  ['storage/keeper', 'if (relies || this.#saving)', 'if (this.#saving)'],
  ['storage/keeper', 'if (this.#restoring) return', 'if (false) return'],
  ['storage/keeper', 'if (this.#over || this.#stuck) return write()', ''],
  ['storage/keeper', 'put.push({', 'if (seq) put.push({'],
  ['channels/channels', 'if (readers.size) return this', 'if (false) return this'],
  ['channels/channels', 'reader.done = channel.items', 'reader.done = 0'],
  ['channels/subscription', 'for this one.\n    this.#flow(false)', 'for this one.'],
  ['channels/subscription', 'this.#queue.length >= this.#max', 'false'],
  ['environment/hints', "slept && globalThis.document?.visibilityState !== 'hidden'", 'slept'],
  ['socket/face', "current === 'open' && previous !== 'probing'", "current === 'open'"],
  ['socket/face', "if (hint === 'frozen')", 'if (false)'],
  [
    'socket/face',
    'this.readyState === 1 && this.#write()',
    'this.readyState === 1 && this.#writable',
  ],
  ['socket/face', 'this.#waiting.length >= (this.options', 'this.#waiting.length > (this.options'],
  ['shell/runner', 'link.socket.protocol === subprotocol', 'true'],
  ['socket/resilient', "known && (scheme === 'wss' || scheme === ownScheme)", 'known'],
  ['recommendation/recommendation', 'if (blocked) action =', 'if (verdict) action ='],
  ['recommendation/recommendation', 'asks && !blocked && !sentence', 'asks && !blocked'],
  ['socket/face', '!this.#closing && this.runner.newest()', 'this.runner.newest()'],
  ['socket/face', "previous === 'authorizing' && current !== 'connecting'", 'false'],
  ['shell/refusal', 'Date.parse(after) - nowMs', 'Number.NaN'],
  ['recommendation/recommendation', 'own ? own.codes', 'own?.codes ? own.codes'],
]

const root = fileURLToPath(new URL('..', import.meta.url))
const [wanted = ''] = process.argv.slice(2).filter((argument) => argument !== '--check')
const chosen = MUTATIONS.filter(([name]) => new RegExp(wanted).test(name))

/** What stands around that which is replaced, if it stands there once. */
function around([name, right]) {
  const parts = readFileSync(join(root, `src/${name}.ts`), 'utf8').split(right)
  return parts.length === 2 ? parts : undefined
}

const stray = chosen.filter((mutation) => !around(mutation))
for (const [name, right] of stray) console.error(`mutations: ${name}: not once: ${right}`)
if (stray.length) process.exitCode = 1
else if (!process.argv.includes('--check')) play()

function play() {
  const copy = mkdtempSync(join(tmpdir(), 'bowline-mutations-'))
  let survived = 0
  let caught = 0
  try {
    const place = copied(copy)
    if (outcome(place) !== 'SURVIVED') throw new Error('The tests fail without any mutation.')
    for (const mutation of chosen) {
      const [name, right, wrong] = mutation
      const path = join(place, `src/${name}.ts`)
      writeFileSync(path, around(mutation).join(wrong))
      const found = outcome(place)
      cpSync(join(root, `src/${name}.ts`), path)
      found === 'SURVIVED' ? survived++ : caught++
      console.log(`${found} ${name}: ${right} → ${wrong}`)
    }
  } finally {
    rmSync(copy, { recursive: true, force: true })
  }
  console.log(`mutations: ${caught} caught, ${survived} survived`)
  process.exitCode = survived ? 1 : 0
}

/** The package in a folder where it may be changed. */
function copied(copy) {
  const place = join(copy, 'clients/ts')
  for (const part of [
    'src',
    'test',
    'package.json',
    'tsconfig.json',
    'vitest.config.ts',
    'scripts',
  ]) {
    cpSync(join(root, part), join(place, part), { recursive: true })
  }
  symlinkSync(join(root, 'node_modules'), join(place, 'node_modules'))
  cpSync(join(root, '../../vectors'), join(copy, 'vectors'), { recursive: true })
  return place
}

/** What becomes of the unit tests. */
function outcome(place) {
  const vitest = join(place, 'node_modules/vitest/vitest.mjs')
  const command = [vitest, 'run', '--project', 'unit', '--bail', '1', '--reporter', 'dot']
  // One process for all, since starting them is most of the time.
  command.push('--pool', 'threads', '--no-isolate', '--no-file-parallelism')
  // A busy machine catches no mutant.
  command.push('--testTimeout', '20000')
  // These look at what is not mutated, and two of them need a page of their own.
  for (const name of ['element', 'react', 'idb', 'testing']) {
    command.push('--exclude', `test/unit/${name}.test.*`)
  }
  // A mutant may turn for ever: then nothing of it may be left.
  const { status, error } = spawnSync(process.execPath, command, {
    cwd: place,
    stdio: 'ignore',
    timeout: 120_000,
    killSignal: 'SIGKILL',
  })
  if (error) return 'hung    '
  return status === 0 ? 'SURVIVED' : 'caught  '
}
