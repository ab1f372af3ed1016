/**
 * The messages of `bowline.v1`, as the machines see them. Fields are named as on the wire.
 *
 * Owns the types. Must not know frames.
 */

import type { From, Position } from '../position/position.ts'

/** What is sent: the text of one JSON value, or raw bytes. */
export type Payload = string | Uint8Array

/** A number of the peer, as the JSON text that answers it. */
export type Echo = string

/** A refusal (PROTOCOL.md, "Errors"). */
export interface ErrorInfo {
  code: string
  /** For the developer. */
  message: string
  /** Whether the same request may succeed later, unchanged. */
  retry: boolean
  retry_after_ms?: number | undefined
}

/** Where a subscription stands, and whether anything is missing before it. */
export interface Recovery {
  position?: Position
  recovered: boolean
  reason?: 'new' | 'expired' | 'rewound' | 'unknown_epoch' | 'no_history'
}

/** A publication. */
export interface Publication {
  channel: string
  /** Absent on channels without history. */
  position?: Position
  /** The JSON value, or the bytes as `Uint8Array`. */
  data: unknown
  /** Who published it, where a client with a verified user did. */
  user?: string
  /** The publisher's own mark. */
  tag?: string
}

/** Publications are missing here. */
export interface Gap {
  channel: string
  /** Where it goes on. */
  position?: Position
  reason: 'expired' | 'slow' | 'rewound' | 'unknown_epoch'
  /** How many, where it is known. */
  missed?: number
}

/** What the server answers to `hello`. */
export interface Welcome {
  connection?: string
  session: string
  resumed: boolean
  reason?: 'session_lost' | 'client_rewound'
  user?: string
  acked: number
  inflight_max: number
  ping_interval_ms: number
  pong_timeout_ms: number
  message_bytes_max: number
  session_ttl_ms: number
  max_reconnect_attempts: number
  subscriptions?: Record<string, Recovery & { error?: ErrorInfo }>
}

/** What comes from the server. */
export type ServerMessage =
  | ({ type: 'welcome' } & Welcome)
  | ({ type: 'subscribed'; id?: unknown; channel: string } & Recovery)
  | { type: 'unsubscribed'; id?: unknown; channel: string; code?: string }
  | ({ type: 'message' } & Publication)
  | { type: 'acked'; seq: number }
  | { type: 'reply'; id?: unknown; seq?: number; data: unknown }
  | ({ type: 'error'; id?: unknown; seq?: number } & ErrorInfo)
  | ({ type: 'gap' } & Gap)
  | { type: 'reconnect'; after_ms: number; reason: 'drain' | 'rebalance' | 'restart'; url?: string }
  | { type: 'expiring'; in_ms: number }
  | { type: 'ping'; ts?: Echo }
  | { type: 'pong'; ts?: Echo }

/** What goes to the server. `undefined` fields are left out. */
export type ClientMessage =
  | {
      type: 'hello'
      token?: string | undefined
      session?: string | undefined
      link: number
      first: number
      next: number
      subscribe: Record<string, From>
      client?: { name: string; version?: string } | undefined
    }
  | { type: 'subscribe'; id: number; channel: string; position: From }
  | { type: 'unsubscribe'; channel: string }
  | {
      type: 'publish'
      seq?: number | undefined
      id?: number | undefined
      channel: string
      data: Payload
      tag?: string | undefined
    }
  | {
      type: 'send'
      seq?: number | undefined
      id?: number | undefined
      data: Payload
      method?: string | undefined
    }
  | { type: 'skip'; seq: number }
  | {
      type: 'history'
      id: number
      channel: string
      after?: Position | undefined
      limit?: number | undefined
    }
  | { type: 'presence'; id: number; channel: string; limit?: number | undefined }
  | { type: 'refresh'; id?: number | undefined; token: string }
  | { type: 'ping' | 'pong'; ts?: Echo | undefined }
  | { type: 'bye' }
