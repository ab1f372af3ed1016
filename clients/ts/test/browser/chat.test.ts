// The example `chat` as a user meets it: two people, a server that stops, and what is written meanwhile.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { connect } from '../../src/index.ts'
import { built, freePort, until } from '../e2e/lib/server.ts'
import { executablePath, launch } from './lib/page.ts'

/** What is said is kept here by the example. */
const folder = mkdtempSync(join(tmpdir(), 'bowline-chat-'))
let browser: Browser
let address: string
let child: ChildProcess

async function begin(): Promise<void> {
  const program = built('examples/chat', '-p bowline --example chat')
  child = spawn(program, [address], { cwd: folder, stdio: 'ignore' })
  await until('the chat answers', async () => {
    const answer = await fetch(`http://${address}/`).catch(() => undefined)
    return answer?.ok === true
  })
}

async function stop(): Promise<void> {
  child.kill('SIGINT')
  await once(child, 'exit')
}

async function enter(viewport: { width: number; height: number }): Promise<Page> {
  const page = await (await browser.newContext({ viewport })).newPage()
  await page.goto(`http://${address}/`)
  return page
}

async function say(page: Page, name: string, text: string): Promise<void> {
  await page.fill('[name=name]', name)
  await page.fill('[name=text]', text)
  await page.click('button:text("Send")')
}

/** The lines of a page, once there are so many that are stored. */
async function lines(page: Page, count: number): Promise<string[]> {
  const stored = 'li:not([data-state])'
  await page.waitForFunction(
    ([stored, count]) => document.querySelectorAll(stored).length === count,
    [stored, count] as const,
  )
  return page.$$eval('li', (items) => items.map((item) => item.textContent ?? ''))
}

const stored = (page: Page, line: string) =>
  page.waitForSelector(`li:not([data-state]):text-is("${line}")`)

beforeAll(async () => {
  address = `127.0.0.1:${await freePort()}`
  await begin()
  browser = await launch()
})

afterAll(async () => {
  await browser?.close()
  child?.kill()
  rmSync(folder, { recursive: true, force: true })
})

test.skipIf(!executablePath)('the chat goes on where its server stopped', async () => {
  const desk = await enter({ width: 1280, height: 800 })
  const phone = await enter({ width: 375, height: 667 })
  await say(desk, 'Ana', 'one')
  await lines(phone, 1)
  await say(phone, 'Ben', 'two')
  await lines(desk, 2)
  await stop()
  await say(phone, 'Ben', 'three')
  await say(phone, 'Ben', 'four')
  expect(await phone.locator('li[data-state=waiting]').count()).toBe(2)
  await begin()
  const told = ['Ana: one', 'Ben: two', 'Ben: three', 'Ben: four']
  expect(await lines(phone, 4)).toEqual(told)
  expect(await lines(desk, 4)).toEqual(told)
  const wide = await phone.evaluate(() => document.documentElement.scrollWidth)
  expect(wide).toBeLessThanOrEqual(375)
})

test.skipIf(!executablePath)('what may be stored is not called unsent', async () => {
  const page = await enter({ width: 1280, height: 800 })
  await page.$eval('[name=text]', (field) => field.removeAttribute('maxlength'))
  await say(page, 'Ana', 'x'.repeat(70_000))
  await page.waitForSelector('li[data-state="not sent: message too big"]')
  await say(page, 'Ana', 'five')
  await stored(page, 'Ana: five')
  // Written to a server that never reads it; the next one knows nothing of this page's session.
  child.kill('SIGSTOP')
  await say(page, 'Ana', 'six')
  await page.waitForSelector('li[data-state=waiting]')
  child.kill('SIGKILL')
  await once(child, 'exit')
  rmSync(folder, { recursive: true })
  mkdirSync(folder)
  await begin()
  const doubtful = await page.waitForSelector('li[data-state^="perhaps sent: "]')
  expect(await doubtful.textContent()).toBe('Ana: six')
  await say(page, 'Ana', 'seven')
  await stored(page, 'Ana: seven')
  await stored(page, '(Some messages are missing here.)')
})

test.skipIf(!executablePath)('what is no line of a chat ends no page', async () => {
  const page = await enter({ width: 1280, height: 800 })
  await using other = connect(`ws://${address}/ws`, { WebSocket })
  for (const data of [null, 7, { name: 'Eve' }, { name: { toString: 1 }, text: 'hi' }]) {
    await other.publish('chat', data)
  }
  await other.publish('chat', { name: 'Eve', text: 'eight' })
  await stored(page, 'Eve: eight')
})
