/**
 * What goes into a client's machine and what comes out of it.
 *
 * Owns the words between shell and machine, in the form in which the traces of `vectors/client/`
 * have them. Must not know how the machine decides. Times are microseconds since an origin that the
 * shell chooses, spans in names with `Ms` milliseconds.
 */

import type { Backoff, BackoffConfig } from '../backoff/backoff.ts'
import type { ClassOf, Evidence, Strategy, Verdict } from '../classify/classify.ts'
import type {
  ClientMessage,
  ErrorInfo,
  Gap,
  Publication,
  Recovery,
  ServerMessage,
} from '../codec/messages.ts'
import type { Health, Level } from '../health/health.ts'
import type { Item, OutboxConfig, Resolved } from '../outbox/outbox.ts'
import type { From, Position } from '../position/position.ts'

/** What every machine is made with. */
export interface DialerOptions extends BackoffConfig {
  /** From dialling to a link that can be used; past it the attempt has failed. Default 10 s. */
  connectTimeoutMs: number
  /** How long the application may take to bring a token. Default 30 s. */
  authorizeTimeoutMs: number
  /** Failed attempts in a row until dormant; without it what the server says, and 10 before that. */
  attemptsMax?: number | undefined
  /** Whether the application is asked for a token before the first dial and after `auth` failures. */
  authorize: boolean
  /** Whether a hidden page dials as a visible one does. */
  dialHidden: boolean
  /** The class of a code by its name. */
  classOf: ClassOf
  /** The application's own strategy in place of the default one. */
  strategy?: ((verdict: Verdict, usual: Strategy) => Strategy) | undefined
  /** The highest link number used. */
  link: number
  /** How the server is asked for a sign of life, where its protocol does not say. */
  heartbeat?: HeartbeatOptions | undefined
}

/** How a server without the protocol is asked for a sign of life. */
export interface HeartbeatOptions {
  /** After so long without a byte it is asked. */
  intervalMs: number
  /** After so long without an answer it is asked again; the second miss is death. */
  timeoutMs: number
}

/** What a machine of `bowline.v1` is made with. */
export interface ClientOptions extends DialerOptions, OutboxConfig {
  /** The first send after so long a silence probes the link too. Default 10 s. */
  silenceMs: number
  /** The most subscriptions. Default 1,000. */
  subscriptionsMax: number
  /** The most requests that wait for their answer. Default 100. */
  requestsMax: number
  /**
   * Messages that were written but not acknowledged when a session was lost are sent again in the
   * new one, at the risk of a second effect, instead of reported as dropped.
   */
  resendUnknown: boolean
  /** Send again what only `welcome.acked` confirms; the server refuses the duplicates. */
  resendStored: boolean
  /** The session's secret id, of at least 128 random bits; without it the server draws one. */
  session?: string | undefined
  /** Told to the server. */
  client?: { name: string; version?: string } | undefined
}

/** What the environment says: reasons to look at the link, never proofs. */
export type Hint = 'wake' | 'visible' | 'hidden' | 'online' | 'offline' | 'network_change'

/** A request without a number, as it goes on the wire: answered on this link or not at all. */
export type Request =
  | {
      type: 'history'
      channel: string
      after?: Position | undefined
      limit?: number | undefined
    }
  | { type: 'presence'; channel: string; limit?: number | undefined }
  /** Volatile: at most once. */
  | { type: 'publish'; channel: string; data: Item['data']; tag?: string | undefined }
  | { type: 'send'; data: Item['data']; method?: string | undefined }
  /** A new token of the same user, which the next `hello` brings as well. */
  | { type: 'refresh'; token: string }

/** What the shell tells the machine. */
export type Input =
  /** Connect, or try again now. */
  | { type: 'connect' }
  | { type: 'subscribe'; channel: string; from: From }
  | { type: 'unsubscribe'; channel: string }
  /** Take nothing of a channel for now, because its reader is behind; its position is kept. */
  | { type: 'pause'; channel: string }
  | { type: 'resume'; channel: string }
  /** Queue a message with exactly one end: acked or dropped. */
  | { type: 'queue'; key: number; item: Item }
  /** Ask once, now. */
  | { type: 'request'; key: number; request: Request }
  | { type: 'clear_outbox' }
  /** Number from 1 again, in a session that the server draws. */
  | { type: 'reset_session' }
  /** End for good; with `bye` the session too, otherwise it can be resumed. */
  | { type: 'close'; bye: boolean }
  | { type: 'token'; token?: string | undefined }
  | { type: 'token_failed'; retry: boolean }
  /** Ask the application for another token now. */
  | { type: 'reauthenticate' }
  | { type: 'hint'; hint: Hint }
  /** The links are gone whatever they say: the page comes back from a cache. */
  | { type: 'thawed' }
  /** A dialled link can be written to. */
  | { type: 'opened'; link: number }
  | { type: 'message'; link: number; message: ServerMessage }
  /** Bytes came that are no message of the protocol: proof of life. */
  | { type: 'received'; link: number }
  | { type: 'failed'; link: number; evidence: Evidence }
  /** The time of `nextTimeout` has come. */
  | { type: 'timeout' }

/** Where a client stands. */
export type State =
  /** Made, not asked to connect. */
  | 'idle'
  /** Waits for the application's token. */
  | 'authorizing'
  /** Dials. */
  | 'connecting'
  /** Waits for `welcome`. */
  | 'handshaking'
  /** Welcomed and healthy. */
  | 'open'
  /** Welcomed; a probe is out. */
  | 'probing'
  /** Waits for the backoff. */
  | 'waiting'
  /** The environment says that there is no network. */
  | 'offline'
  /** Attempts are used up, or nobody looks: a dial per 60–120 s and on any hint. */
  | 'dormant'
  /** Needs the application or the user. */
  | 'blocked'
  /** Ended for good. */
  | 'closed'

/** Whether a client in this state has a link that can be used. */
export function isOpen(state: State): boolean {
  return state === 'open' || state === 'probing'
}

/** What the application is told. */
export type Event =
  | { event: 'state'; state: State }
  | { event: 'health'; level: Level }
  | {
      event: 'welcome'
      resumed: boolean
      reason: string | null
      acked: number
      connection: string
      session: string
    }
  | ({ event: 'subscribed'; channel: string } & Recovery)
  /** Where `error.retry`, it is asked for again. */
  | { event: 'subscribe_failed'; channel: string; error: ErrorInfo }
  | { event: 'unsubscribed'; channel: string; code?: string }
  /** Once, in order. */
  | ({ event: 'message' } & Publication)
  | ({ event: 'gap' } & Gap)
  | Resolved
  /** The application's answer to a `send`. */
  | { event: 'reply'; key: number; data: unknown }
  /** What became of a request. */
  | { event: 'answer'; key: number; data: unknown }
  | { event: 'answer'; key: number; error: ErrorInfo }
  | { event: 'error'; error: ErrorInfo }
  | { event: 'link_closed'; link: number; evidence: Evidence; verdict: Verdict }

/** What the machine tells the shell to do. */
export type Output =
  /** Ask the application for a token; answer with `token` or `token_failed`. */
  | { type: 'authorize' }
  /** Dial; answer with `opened` or `failed`. The shell checks that `url` may get the token. */
  | { type: 'dial'; link: number; url?: string | undefined }
  | { type: 'write'; link: number; message: ClientMessage }
  /** Write whatever this server takes for a ping. */
  | { type: 'ping'; link: number }
  /** Close a link; nothing that it still says matters. */
  | { type: 'close_link'; link: number; code: number }
  | ({ type: 'event' } & Event)

/** One of a union, by its type. */
export type Of<U extends { type: string }, T extends U['type']> = Extract<U, { type: T }>

/** What takes each of a union, by its type. */
export type Handlers<U extends { type: string }> = { [T in U['type']]: (of: Of<U, T>) => void }

/** A machine, whichever protocol it speaks. */
export interface Machine {
  readonly state: State
  readonly health: Health
  readonly backoff: Backoff
  readonly redialAt: number | undefined
  handle(now: number, input: Input): Output[]
  nextTimeout(): number | undefined
  /** Whether this link is still wanted. */
  dials(link: number): boolean
}
