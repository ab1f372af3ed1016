/**
 * A machine for servers that speak no protocol that this client knows: a link that opens is used.
 *
 * Owns the heartbeat, where the application says what a ping is. Without one nothing is ever asked,
 * and only a close or the environment ends a link.
 */

import type { PlainOptions } from './contract.ts'
import { Dialer } from './dialer.ts'

/** The machine for any server. */
export class PlainClient extends Dialer<PlainOptions> {
  protected override opened(): void {
    const { heartbeat } = this.options
    const timeout = (heartbeat?.timeoutMs ?? 0) * 1000
    const silence = heartbeat ? heartbeat.intervalMs * 1000 + 2 * timeout : Number.POSITIVE_INFINITY
    this.adopt(silence, timeout)
  }

  protected override timers(): (number | undefined)[] {
    return [...super.timers(), this.#pingAt()]
  }

  protected override timeout(): void {
    super.timeout()
    const due = this.#pingAt()
    if (due !== undefined && due <= this.now) this.probe()
  }

  protected override probe(): void {
    if (this.options.heartbeat) super.probe()
  }

  protected override received(link: number): void {
    const probe = this.active?.link === link ? this.active.probe : undefined
    super.received(link)
    if (probe) this.health.measured(this.now - probe.sentAt)
  }

  protected override ping(link: number): void {
    this.output({ type: 'ping', link })
  }

  protected override unlink(): void {}
  protected override flush(): void {}
  protected override bye(): void {}
  protected override ended(): void {}
  protected override refresh(): void {}

  #pingAt(): number | undefined {
    const { active } = this
    const { heartbeat } = this.options
    if (!active || !heartbeat || active.probe) return undefined
    return active.receivedAt + heartbeat.intervalMs * 1000
  }
}
