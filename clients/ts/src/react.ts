/**
 * `@bowline/client/react`: hooks. Safe under StrictMode: what an effect makes, its cleanup ends.
 */

import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from 'react'
import type { From, Publication, Recommendation, ResilientWebSocket, State } from './index.ts'

/** Makes a client for as long as the component lives; none before the first effect. */
export function useResilientWebSocket(
  make: () => ResilientWebSocket,
  dependencies: readonly unknown[] = [],
): ResilientWebSocket | undefined {
  const [socket, setSocket] = useState<ResilientWebSocket>()
  useEffect(() => {
    const made = make()
    setSocket(made)
    return () => made.close()
    // biome-ignore lint/correctness/useExhaustiveDependencies: the caller names them.
  }, dependencies)
  return socket
}

/** Follows a channel; answers its newest publications, at most `max` (100), oldest first. */
export function useChannel(
  socket: ResilientWebSocket | undefined,
  channel: string,
  options: { from?: From; max?: number; onMessage?: (message: Publication) => void } = {},
): Publication[] {
  const [messages, setMessages] = useState<Publication[]>([])
  const latest = useRef(options)
  latest.current = options
  useEffect(() => {
    setMessages([])
    const subscription = socket?.subscribe(channel, {
      from: latest.current.from as From,
      listener(delivery) {
        if (delivery.type !== 'message') return
        const { max = 100, onMessage } = latest.current
        onMessage?.(delivery)
        setMessages((known) => [...known, delivery].slice(-max))
      },
    })
    return () => subscription?.unsubscribe()
  }, [socket, channel])
  // Those of another channel are here until the effect has run.
  return (messages[0]?.channel ?? channel) === channel ? messages : []
}

/** The state, and what to tell the user. */
export function useConnectionStatus(socket: ResilientWebSocket | undefined): {
  state: State
  recommendation: Recommendation | undefined
} {
  const listen = useCallback(
    (changed: () => void) => {
      const forget = socket?.on('statechange', changed)
      const ignore = socket?.on('recommendation', changed)
      return () => {
        forget?.()
        ignore?.()
      }
    },
    [socket],
  )
  const state = useSyncExternalStore(
    listen,
    () => socket?.state ?? 'idle',
    () => 'idle' as const,
  )
  const recommendation = useSyncExternalStore(
    listen,
    () => socket?.recommendation,
    () => undefined,
  )
  return { state, recommendation }
}
