// Runs in the page: one small face for all clients, so that the same scenario runs on each.
import { Channel, createCable } from '@anycable/core'
import { Centrifuge } from 'centrifuge'
import PartySocket from 'partysocket/ws'
import ReconnectingWebSocket from 'reconnecting-websocket'
import { io } from 'socket.io-client'
import { connect } from '../src/index.ts'

/** What a client tells its application, and what an application does with it. */
interface Player {
  /** Whether it is connected. */
  open: boolean
  /** When it said that the link is lost, or closed. */
  lostAt: number | undefined
  closedAt: number | undefined
  /** What the application was told, each kind once. */
  told: Set<string>
  send(text: string): unknown
  close(): void
  /** What became of the messages, where the client says so. */
  fates: string[]
}

/** Where things are: the echo server, the socket.io server and the Bowline server. */
interface Places {
  peer: string
  bowline: string
  /** An HTTP status that upgrades get instead. */
  status?: number
}

const empty = (): Player => ({
  open: false,
  lostAt: undefined,
  closedAt: undefined,
  told: new Set(),
  send() {},
  close() {},
  fates: [],
})

const drop = (player: Player) => {
  player.open = false
  player.lostAt ??= performance.now()
  player.closedAt = performance.now()
}

function socket(player: Player, ws: WebSocket): Player {
  ws.addEventListener('open', () => {
    player.open = true
  })
  ws.addEventListener('close', ({ code, reason }) => {
    // One of them has an event in place of the code.
    player.told.add(typeof code === 'number' ? `close ${code} ${reason}`.trim() : 'close')
    drop(player)
  })
  ws.addEventListener('error', () => player.told.add('error'))
  player.send = (text) => ws.send(text)
  player.close = () => ws.close()
  return player
}

const path = ({ peer, status }: Places, name: string) =>
  status === undefined ? `${peer}/${name}` : `${peer}/status/${status}`

class Echo extends Channel {
  static override identifier = 'Echo'
}

export const clients: Record<string, (places: Places) => Player> = {
  '@bowline/client'(places) {
    const player = empty()
    const ws = connect(places.status === undefined ? places.bowline : path(places, ''))
    ws.on('open', () => {
      player.open = true
    })
    ws.on('lostconnection', ({ status }) => status === 'lost' && drop(player))
    ws.addEventListener('close', () => drop(player))
    ws.on('statechange', ({ reason }) => {
      if (reason && reason.class !== 'network') {
        player.told.add(`${reason.class}: “${ws.recommendation?.detail}”`)
      }
    })
    player.send = (text) =>
      ws.publish('compare', text).then(
        () => player.fates.push('acked'),
        () => player.fates.push('rejected'),
      )
    player.close = () => ws.close()
    return player
  },
  'native WebSocket': (places) => socket(empty(), new WebSocket(path(places, 'native'))),
  'reconnecting-websocket': (places) =>
    socket(empty(), new ReconnectingWebSocket(path(places, 'reconnecting-websocket')) as never),
  partysocket: (places) => socket(empty(), new PartySocket(path(places, 'partysocket')) as never),
  'socket.io-client'(places) {
    const player = empty()
    const { peer, status } = places
    const options = status === undefined ? {} : { path: `/status/${status}` }
    const client = io(peer.replace('ws', 'http'), { transports: ['websocket'], ...options })
    client.on('connect', () => {
      player.open = true
    })
    client.on('disconnect', (reason) => {
      player.told.add(`disconnect ${reason}`)
      drop(player)
    })
    client.on('connect_error', ({ message }) => player.told.add(`connect_error ${message}`))
    player.send = (text) => client.emit('say', text)
    player.close = () => client.close()
    return player
  },
  centrifuge(places) {
    const player = empty()
    const client = new Centrifuge(path(places, 'centrifuge'))
    client.on('connected', () => {
      player.open = true
    })
    client.on('connecting', ({ code, reason }) => {
      if (player.open) drop(player)
      if (code) player.told.add(`connecting ${code} ${reason}`)
    })
    client.on('disconnected', ({ code, reason }) => {
      player.told.add(`disconnected ${code} ${reason}`)
      drop(player)
    })
    client.on('error', ({ error }) => player.told.add(`error ${error.code} ${error.message}`))
    client.connect()
    player.send = (text) =>
      client.publish('compare', text).then(
        () => player.fates.push('acked'),
        () => player.fates.push('rejected'),
      )
    player.close = () => client.disconnect()
    return player
  },
  '@anycable/core'(places) {
    const player = empty()
    const cable = createCable(path(places, 'anycable'), { logLevel: 'error' })
    const channel = new Echo()
    cable.on('connect', () => {
      player.open = true
    })
    cable.on('disconnect', ({ reason }) => {
      player.told.add(`disconnect ${reason ?? ''}`.trim())
      drop(player)
    })
    cable.on('close', (event) => {
      player.told.add(`close ${event?.reason ?? event?.message ?? ''}`.trim())
      drop(player)
    })
    cable.connect().catch((error) => player.told.add(`error ${error.message}`))
    cable.subscribe(channel)
    player.send = (text) =>
      channel.perform('say', { text }).then(
        () => player.fates.push('sent'),
        () => player.fates.push('rejected'),
      )
    player.close = () => cable.disconnect()
    return player
  },
}

/** Makes all of them. */
export function begin(places: Places): Record<string, Player> {
  return Object.fromEntries(Object.entries(clients).map(([name, make]) => [name, make(places)]))
}
