/**
 * Bowline's codes: names, class, what the user is advised to do, and a sentence for the user.
 *
 * Generated from `vectors/codes.json` by `npm run codes`; changed there and nowhere else.
 */

import type { ErrorClass } from '../classify/classify.ts'

/** What the end user is advised to do. */
export type Action = 'wait' | 'retry' | 'login' | 'reload' | 'contact'

/** Names (separated by spaces), class, action, sentence. */
export const CODE_TABLE: readonly (readonly [string, ErrorClass, Action, string])[] = [
  [
    'malformed hello_expected',
    'protocol',
    'reload',
    'The application sent something the server does not understand.',
  ],
  [
    'unknown_type',
    'protocol',
    'reload',
    'The application is newer than the server.',
  ],
  [
    'too_deep',
    'protocol',
    'contact',
    'The message is too complex.',
  ],
  [
    'bad_channel',
    'protocol',
    'contact',
    'The application asked for something that does not exist.',
  ],
  [
    'bad_position',
    'protocol',
    'reload',
    'The application asked for something that does not exist.',
  ],
  [
    'out_of_order',
    'protocol',
    'wait',
    'Messages are being sent again.',
  ],
  [
    'unauthorized',
    'auth',
    'login',
    'Please sign in again.',
  ],
  [
    'token_expired',
    'auth',
    'login',
    'Your sign-in has expired.',
  ],
  [
    'forbidden',
    'policy',
    'contact',
    'You do not have access to this.',
  ],
  [
    'origin_not_allowed',
    'policy',
    'contact',
    'This page may not connect here.',
  ],
  [
    'disconnected',
    'policy',
    'contact',
    'The service has ended this connection.',
  ],
  [
    'hello_timeout',
    'timeout',
    'wait',
    'The connection is too slow; trying again.',
  ],
  [
    'stale',
    'timeout',
    'wait',
    'The connection was lost; reconnecting.',
  ],
  [
    'send_timeout',
    'timeout',
    'wait',
    'The connection is too slow; reconnecting.',
  ],
  [
    'replaced',
    'policy',
    'retry',
    'This session was opened elsewhere.',
  ],
  [
    'message_too_big',
    'policy',
    'contact',
    'The message is too large.',
  ],
  [
    'rate_limited',
    'rate_limit',
    'wait',
    'Too many messages; please wait a moment.',
  ],
  [
    'too_many_connections',
    'rate_limit',
    'wait',
    'Too many connections; please wait a moment.',
  ],
  [
    'too_many_attempts',
    'rate_limit',
    'wait',
    'Too many attempts; please wait a moment.',
  ],
  [
    'too_many_subscriptions',
    'policy',
    'contact',
    'Too many things are open at once.',
  ],
  [
    'too_many_channels',
    'server',
    'contact',
    'The service is full; please try again later.',
  ],
  [
    'too_many_inflight',
    'rate_limit',
    'wait',
    'Messages are being sent again.',
  ],
  [
    'not_subscribed',
    'policy',
    'reload',
    'The application asked for something that does not exist.',
  ],
  [
    'already_subscribed',
    'policy',
    'reload',
    'The application asked twice for the same thing.',
  ],
  [
    'no_handler',
    'policy',
    'contact',
    'The server does not accept this kind of message.',
  ],
  [
    'handler_failed',
    'server',
    'wait',
    'The message could not be handled; trying again.',
  ],
  [
    'handler_timeout',
    'timeout',
    'wait',
    'The message could not be handled in time; trying again.',
  ],
  [
    'rejected key_reused',
    'policy',
    'contact',
    'The message was not accepted.',
  ],
  [
    'not_supported',
    'policy',
    'contact',
    'The server does not offer this.',
  ],
  [
    'storage_full',
    'server',
    'wait',
    'The service is full; trying again.',
  ],
  [
    'storage_unavailable',
    'server',
    'wait',
    'The service is not available right now; trying again.',
  ],
  [
    'fate_unknown',
    'timeout',
    'wait',
    'It is not known whether the message arrived; trying again.',
  ],
  [
    'internal',
    'server',
    'wait',
    'Something went wrong on the server; trying again.',
  ],
  [
    'draining',
    'server',
    'wait',
    'The service is being updated; reconnecting.',
  ],
  [
    'overloaded',
    'server',
    'wait',
    'The service is busy; trying again.',
  ],
  [
    'not_found method_not_allowed',
    'protocol',
    'contact',
    'This does not exist.',
  ],
  [
    'unsupported_media_type',
    'protocol',
    'contact',
    'The application sent something the server does not understand.',
  ],
  [
    'upgrade_required',
    'protocol',
    'contact',
    "The application does not speak the server's protocol.",
  ],
  [
    'headers_too_large',
    'protocol',
    'contact',
    'The request is too large.',
  ],
]

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
