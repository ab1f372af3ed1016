/** A drop-in WebSocket that reconnects, for any server, without the parts for Bowline's. */

import { Dialer } from '../machine/dialer.ts'
import { Face } from './face.ts'
import { checkOptions, dialerOptions, type SocketOptions, type UrlSource } from './options.ts'

/** The machine for any server. */
export function plainMachine(seed: number, options: SocketOptions): Dialer {
  const { heartbeat } = options
  checkOptions(heartbeat ?? {})
  return new Dialer(seed, {
    ...dialerOptions(options),
    heartbeat: heartbeat && {
      intervalMs: heartbeat.intervalMs ?? 30_000,
      timeoutMs: heartbeat.timeoutMs ?? 10_000,
    },
  })
}

/** A WebSocket that reconnects. */
export class ResilientWebSocket extends Face {
  constructor(url: UrlSource, protocols: string | string[] = [], options: SocketOptions = {}) {
    super(url, protocols, options)
    this.start()
  }

  protected override machine(): Dialer {
    return plainMachine(this.seed(), this.options)
  }
}
