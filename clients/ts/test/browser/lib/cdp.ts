// Chromium without a driver in between: what a driver keeps from a page, such as being frozen.
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { WebSocket } from 'ws'
import { until } from '../../e2e/lib/server.ts'
import { executablePath } from './page.ts'

/** One page of a Chromium of its own. */
export class RawPage {
  readonly #child: ChildProcess
  readonly #folder: string
  readonly #socket: WebSocket
  readonly #waiting = new Map<number, (answer: any) => void>()
  #id = 0

  private constructor(child: ChildProcess, folder: string, socket: WebSocket) {
    this.#child = child
    this.#folder = folder
    this.#socket = socket
    socket.on('message', (text) => {
      const answer = JSON.parse(String(text))
      this.#waiting.get(answer.id)?.(answer)
      this.#waiting.delete(answer.id)
    })
  }

  static async open(url: string): Promise<RawPage> {
    const folder = mkdtempSync(join(tmpdir(), 'bowline-chromium-'))
    const flags = ['--headless=new', '--no-sandbox', '--remote-debugging-port=0']
    const args = [...flags, `--user-data-dir=${folder}`, url]
    const child = spawn(executablePath!, args, { stdio: 'ignore' })
    let port = ''
    await until('Chromium has a port', () => {
      try {
        port = readFileSync(join(folder, 'DevToolsActivePort'), 'utf8').split('\n')[0] ?? ''
      } catch {
        return false
      }
      return port !== ''
    })
    let target: { webSocketDebuggerUrl: string } | undefined
    await until('the page is there', async () => {
      const answer = await fetch(`http://127.0.0.1:${port}/json/list`).catch(() => undefined)
      const targets = ((await answer?.json()) ?? []) as { type: string; url: string }[]
      target = targets.find((each) => each.type === 'page' && each.url === url) as never
      return target !== undefined
    })
    const socket = new WebSocket(target!.webSocketDebuggerUrl)
    await new Promise((resolve, reject) => socket.on('open', resolve).on('error', reject))
    return new RawPage(child, folder, socket)
  }

  async send(method: string, params: object = {}): Promise<any> {
    const id = ++this.#id
    const answer = new Promise<any>((resolve) => this.#waiting.set(id, resolve))
    this.#socket.send(JSON.stringify({ id, method, params }))
    const { result, error } = await answer
    if (error) throw new Error(`${method}: ${error.message}`)
    return result
  }

  /** Evaluates an expression; a promise is waited for. */
  async evaluate(expression: string): Promise<any> {
    const params = { expression, awaitPromise: true, returnByValue: true }
    const { result, exceptionDetails } = await this.send('Runtime.evaluate', params)
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? expression)
    return result.value
  }

  async close(): Promise<void> {
    const gone = new Promise((resolve) => this.#child.once('exit', resolve))
    this.#socket.close()
    this.#child.kill()
    await gone
    // Its children may still write for a moment.
    await until('its folder is gone', () => {
      try {
        rmSync(this.#folder, { recursive: true, force: true })
        return true
      } catch {
        return false
      }
    })
  }
}
