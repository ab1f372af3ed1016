/**
 * `@bowline/client`: a WebSocket that stays up, and with a Bowline server never loses or doubles a
 * message.
 */

import type { UrlSource } from './socket/options.ts'
import { ResilientWebSocket } from './socket/resilient.ts'
import type { ResilientOptions } from './socket/session.ts'

/** Connects to a Bowline server. */
export function connect(url: UrlSource, options: ResilientOptions = {}): ResilientWebSocket {
  return new ResilientWebSocket(url, [], { ...options, bowline: true })
}

export type { Delivery, Subscription } from './channels/subscription.ts'
export type { ErrorClass, Evidence, Strategy, Verdict } from './classify/classify.ts'
export type { Gap, Publication, Recovery } from './codec/messages.ts'
export type { Action, Code } from './codes/table.ts'
export type { Environment, EnvironmentHint } from './environment/environment.ts'
export type { Level } from './health/health.ts'
export type { Hint, State } from './machine/contract.ts'
export type { Fate, Item } from './outbox/outbox.ts'
export type { From, Position } from './position/position.ts'
export { english } from './recommendation/en.ts'
export type { Catalogue, Recommendation, Words } from './recommendation/recommendation.ts'
export { SocketError, type SocketEventMap } from './socket/events.ts'
export type { HealthReport } from './socket/face.ts'
export type { SocketOptions, TokenReason, UrlSource } from './socket/options.ts'
export { ResilientWebSocket, type Sent } from './socket/resilient.ts'
export type { HistoryPage, ResilientOptions, SubscribeOptions } from './socket/session.ts'
export type { LogEntry, Statistics } from './statistics/statistics.ts'
export type { Store, StoredChange, StoredClient, StoredMessage } from './storage/store.ts'
