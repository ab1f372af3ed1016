// A real server for tests: the built `bowline`, on a free port.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

/** npm runs everything in the package's folder. */
const root = resolve('../..')
const target = process.env.CARGO_TARGET_DIR ?? join(root, 'target')

/** The binary: `BOWLINE`, or what cargo has built. */
export function binary(): string {
  return process.env.BOWLINE || built('bowline', '-p bowline-cli')
}

/**
 * What cargo has built, with the arguments that build it: the debug build, which `scripts/ts.sh` has
 * just made, before a release build of whatever age. A benchmark names the release build alone.
 */
export function built(name: string, how: string, profiles = ['debug', 'release']): string {
  const found = profiles.map((profile) => `${target}/${profile}/${name}`)
  const path = found.find((candidate) => existsSync(candidate))
  if (!path) throw new Error(`There is no ${name}: cargo build ${how}`)
  return path
}

/** Below the range that the system hands to outgoing connections. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 15_000 + Math.floor(Math.random() * 15_000)
    const server = createServer()
    const free = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false))
      server.listen(port, '127.0.0.1', () => resolve(true))
    })
    await new Promise((resolve) => server.close(resolve))
    if (free) return port
  }
}

/** The secret of servers that take tokens, and what their settings add to it. */
const SECRET = 'a secret of tests, long enough for HS256'
export const WITH_TOKENS = { BOWLINE_DEV: 'false', BOWLINE_ACCESS_JWT_SECRET: SECRET }

/** A token that a server with `WITH_TOKENS` takes. */
export function token(user: string, ttl = '1h'): string {
  const grant = '*=subscribe,publish,history'
  const args = ['token', '--user', user, '--grant', grant, '--ttl', ttl]
  const env = { ...process.env, BOWLINE_ACCESS_JWT_SECRET: SECRET }
  return execFileSync(binary(), args, { env, encoding: 'utf8' }).trim()
}

export class Server {
  readonly port: number
  readonly #settings: Record<string, string>
  /** Where the server keeps its data. */
  readonly #folder = mkdtempSync(join(tmpdir(), 'bowline-ts-'))
  #child: ChildProcess | undefined

  constructor(port: number, settings: Record<string, string> = {}) {
    this.port = port
    this.#settings = settings
  }

  static async start(settings: Record<string, string> = {}): Promise<Server> {
    const server = new Server(await freePort(), settings)
    await server.up()
    return server
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port}/ws`
  }

  get http(): string {
    return `http://127.0.0.1:${this.port}`
  }

  async up(): Promise<void> {
    const dev = this.#settings.BOWLINE_DEV === 'false' ? [] : ['--dev']
    const child = spawn(binary(), ['serve', ...dev, '--listen', `127.0.0.1:${this.port}`], {
      cwd: this.#folder,
      env: { ...process.env, ...this.#settings },
      stdio: 'ignore',
    })
    this.#child = child
    await until('the server is ready', async () => {
      if (child.exitCode !== null) throw new Error(`the server ended with ${child.exitCode}`)
      const answer = await fetch(`${this.http}/health/ready`).catch(() => undefined)
      return answer?.ok === true
    })
  }

  async publish(channel: string, data: unknown): Promise<void> {
    const answer = await fetch(`${this.http}/api/publish`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ channel, data }),
    })
    if (!answer.ok) throw new Error(`publish: ${answer.status} ${await answer.text()}`)
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal)
  }

  /** Ends it for good. */
  async end(): Promise<void> {
    await this.down()
    rmSync(this.#folder, { recursive: true, force: true })
  }

  async down(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#child
    this.#child = undefined
    if (!child || child.exitCode !== null) return
    const gone = new Promise((resolve) => child.once('exit', resolve))
    child.kill(signal)
    await gone
  }
}

/** Polls a condition until it holds. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  ms = 10_000,
): Promise<void> {
  const deadline = Date.now() + ms
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`in vain: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
