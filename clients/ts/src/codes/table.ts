/**
 * Bowline's codes: their names, and what those mean that a link is refused or closed with.
 *
 * Generated from `vectors/codes.json` by `npm run codes`; changed there and nowhere else.
 */

import type { ErrorClass } from '../classify/classify.ts'

/** What the end user is advised to do. */
export type Action = 'wait' | 'retry' | 'login' | 'reload' | 'contact'

/** Class; sentence for the end user and action, where they are not those of the class. */
export type CodeRow = readonly [class_: ErrorClass, sentence?: string | undefined, action?: Action]

/** What each code means that a link is refused or closed with. */
export const CODE_TABLE: Readonly<Record<string, CodeRow>> = {
  malformed: ['protocol', 'The application sent something the server does not understand.'],
  hello_expected: ['protocol', 'The application sent something the server does not understand.'],
  unauthorized: ['auth'],
  token_expired: ['auth', 'Your sign-in has expired.'],
  forbidden: ['policy'],
  origin_not_allowed: ['policy', 'This page may not connect here.'],
  disconnected: ['policy', 'The service has ended this connection.'],
  hello_timeout: ['timeout'],
  stale: ['timeout', 'The connection was lost; reconnecting.'],
  send_timeout: ['timeout', 'The connection is too slow; reconnecting.'],
  replaced: ['policy', 'This session was opened elsewhere.', 'retry'],
  message_too_big: ['policy', 'The message is too large.'],
  rate_limited: ['rate_limit', 'Too many messages; please wait a moment.'],
  too_many_connections: ['rate_limit', 'Too many connections; please wait a moment.'],
  too_many_attempts: ['rate_limit', 'Too many attempts; please wait a moment.'],
  internal: ['server', 'Something went wrong on the server; trying again.'],
  draining: ['server', 'The service is being updated; reconnecting.'],
  overloaded: ['server', 'The service is busy; trying again.'],
  headers_too_large: ['protocol', 'The request is too large.', 'contact'],
}

/** The name of a refusal, an error or a closure. */
export type Code =
  | 'malformed'
  | 'hello_expected'
  | 'unknown_type'
  | 'too_deep'
  | 'bad_channel'
  | 'bad_position'
  | 'out_of_order'
  | 'unauthorized'
  | 'token_expired'
  | 'forbidden'
  | 'origin_not_allowed'
  | 'disconnected'
  | 'hello_timeout'
  | 'stale'
  | 'send_timeout'
  | 'replaced'
  | 'message_too_big'
  | 'rate_limited'
  | 'too_many_connections'
  | 'too_many_attempts'
  | 'too_many_subscriptions'
  | 'too_many_channels'
  | 'too_many_inflight'
  | 'not_subscribed'
  | 'already_subscribed'
  | 'no_handler'
  | 'handler_failed'
  | 'handler_timeout'
  | 'rejected'
  | 'not_supported'
  | 'key_reused'
  | 'storage_full'
  | 'storage_unavailable'
  | 'fate_unknown'
  | 'internal'
  | 'draining'
  | 'overloaded'
  | 'not_found'
  | 'method_not_allowed'
  | 'unsupported_media_type'
  | 'upgrade_required'
  | 'headers_too_large'
