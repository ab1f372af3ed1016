// @vitest-environment happy-dom
// The hooks, under StrictMode: what effects make, their cleanups end.
import { act, StrictMode } from 'react'
import { createRoot, type Root } from 'react-dom/client'
import { renderToString } from 'react-dom/server'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { connect, type ResilientWebSocket } from '../../src/index.ts'
import { useChannel, useConnectionStatus, useResilientWebSocket } from '../../src/react.ts'
import { ScriptedServer, VirtualTime } from '../../src/testing.ts'

let time: VirtualTime
let server: ScriptedServer
let root: Root
let place: HTMLElement
const made: ResilientWebSocket[] = []
const heard: unknown[] = []

beforeEach(() => {
  Object.assign(globalThis, { IS_REACT_ACT_ENVIRONMENT: true })
  time = new VirtualTime()
  server = new ScriptedServer()
  made.length = heard.length = 0
  place = document.body.appendChild(document.createElement('div'))
  root = createRoot(place)
})

afterEach(() => act(async () => root.unmount()))

function View({ channel }: { channel: string }) {
  const ws = useResilientWebSocket(() => {
    const environment = time.environment(server)
    const socket = connect('ws://test/ws', { seed: 1, environment })
    made.push(socket)
    return socket
  })
  const { state, recommendation } = useConnectionStatus(ws)
  const onMessage = ({ data }: { data: unknown }) => heard.push(data)
  const messages = useChannel(ws, channel, { max: 2, onMessage })
  return <p>{[state, recommendation?.title, ...messages.map(({ data }) => data)].join(' ')}</p>
}

function Follower({ socket }: { socket: ResilientWebSocket }) {
  return <p>{useChannel(socket, 'a').map(({ data }) => String(data))}</p>
}

function Titled({ channel }: { channel: string }) {
  const messages = useChannel(made[0], channel)
  heard.push([channel, ...messages.map(({ data }) => data)].join(' '))
  return null
}

const show = (channel: string) =>
  act(async () => {
    root.render(
      <StrictMode>
        <View channel={channel} />
      </StrictMode>,
    )
    await time.advance(1)
  })

describe('hooks', () => {
  test('follow a channel, each message once, and leave nothing behind', async () => {
    await show('a')
    expect(made.map(({ readyState }) => readyState)).toEqual([3, 1])
    for (const data of [1, 2, 3]) await act(async () => server.publish('a', data))
    expect(place.textContent).toBe('open  2 3')
    expect(heard).toEqual([1, 2, 3])
    await show('b')
    expect(place.textContent).toBe('open ')
    await act(async () => server.publish('a', 'unheard'))
    await act(async () => server.publish('b', 4))
    expect(place.textContent).toBe('open  4')
    await act(async () => root.unmount())
    await time.advance(10)
    expect(made.every(({ readyState }) => readyState === 3)).toBe(true)
    root = createRoot(place)
  })

  test('follow a channel of a client whose store has not loaded', async () => {
    const environment = time.environment(server)
    let loaded = (_: undefined) => {}
    const load = () =>
      new Promise<undefined>((resolve) => {
        loaded = resolve
      })
    const store = { load, save: async () => {}, release: () => {} }
    const ws = connect('ws://test/ws', { seed: 1, environment, store })
    await act(async () => {
      root.render(
        <StrictMode>
          <Follower socket={ws} />
        </StrictMode>,
      )
    })
    loaded(undefined)
    await time.advance(1)
    await act(async () => server.publish('a', 'heard'))
    expect(place.textContent).toBe('heard')
    ws.close()
  })

  test('show no message of another channel under the name of this one', async () => {
    const environment = time.environment(server)
    made.push(connect('ws://test/ws', { seed: 1, environment }))
    await act(async () => root.render(<Titled channel="a" />))
    await act(() => time.advance(1))
    await act(async () => server.publish('a', 1))
    await act(async () => root.render(<Titled channel="b" />))
    await act(async () => server.publish('b', 2))
    expect([...new Set(heard)]).toEqual(['a', 'a 1', 'b', 'b 2'])
    made[0]?.close()
  })

  test('tell the state and the sentence', async () => {
    await show('a')
    server.refuses = true
    await act(async () => server.link?.end())
    expect(place.textContent).toBe('waiting Connection lost')
  })

  test('render on a server', () => {
    expect(renderToString(<View channel="a" />)).toBe('<p>idle </p>')
    expect(made).toEqual([])
  })
})
