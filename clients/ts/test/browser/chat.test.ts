// The example `chat` as a user meets it: two people, a server that stops, and what is written meanwhile.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
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
