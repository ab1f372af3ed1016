/** The defaults of the machines' options. Owns the numbers; what they mean stands in `contract`. */

import type { ClientOptions, DialerOptions } from './contract.ts'

/** For any server. */
export function dialerDefaults(): DialerOptions {
  return {
    backoffMinMs: 1000,
    backoffMaxMs: 30_000,
    minUptimeMs: 10_000,
    growFactor: 2,
    connectTimeoutMs: 10_000,
    authorizeTimeoutMs: 30_000,
    authorize: false,
    dialHidden: false,
    classOf: () => undefined,
    link: 0,
  }
}

/** For `bowline.v1`. */
export function clientDefaults(): ClientOptions {
  return {
    ...dialerDefaults(),
    outboxMessagesMax: 1000,
    outboxBytesMax: 4 * 2 ** 20,
    outboxAgeMaxMs: 12 * 60 * 60 * 1000,
    silenceMs: 10_000,
    subscriptionsMax: 1000,
    requestsMax: 100,
    resendUnknown: false,
    resendStored: false,
  }
}
