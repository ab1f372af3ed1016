/** `@bowline/client/plain`: the drop-in alone, for servers that speak no `bowline.v1`. */

export { SocketError, type SocketEventMap } from './socket/events.ts'
export type { HealthReport } from './socket/face.ts'
export type { SocketOptions, UrlSource } from './socket/options.ts'
export { ResilientWebSocket } from './socket/plain.ts'
