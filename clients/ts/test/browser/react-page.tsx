// A page of an application with React, under StrictMode.
import { StrictMode, useState } from 'react'
import { createRoot } from 'react-dom/client'
import { connect, type ResilientWebSocket } from '../../src/index.ts'
import { useChannel, useConnectionStatus, useResilientWebSocket } from '../../src/react.ts'

export const made: ResilientWebSocket[] = []

function Talk({ url }: { url: string }) {
  const ws = useResilientWebSocket(() => {
    const socket = connect(url, { minReconnectionDelay: 10, maxReconnectionDelay: 50 })
    made.push(socket)
    return socket
  }, [url])
  const { state, recommendation } = useConnectionStatus(ws)
  const messages = useChannel(ws, 'react', { max: 3 })
  return (
    <>
      <p id="state">{state}</p>
      <p id="title">{recommendation?.title ?? ''}</p>
      <p id="messages">{messages.map(({ data }) => String(data)).join()}</p>
    </>
  )
}

function App({ url }: { url: string }) {
  const [shown, setShown] = useState(true)
  return (
    <>
      <button id="toggle" type="button" onClick={() => setShown(!shown)}>
        toggle
      </button>
      {shown && <Talk url={url} />}
    </>
  )
}

export function mount(url: string): void {
  const place = document.createElement('div')
  document.body.append(place)
  createRoot(place).render(
    <StrictMode>
      <App url={url} />
    </StrictMode>,
  )
}
