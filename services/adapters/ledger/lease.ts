import type { Voucher } from '../../core/selling-ledger.ts'

/**
 * Room of one account's key that this process has reserved as a whole. What the database holds for it, `granted`, is never less
 * than what runs on it and what was charged since it was set: a charge stays counted in it until the next answer of the database,
 * which knows the charge by then. So whatever is lost on the way, nothing is sold twice.
 */
export class Lease {
  readonly accountId: string
  readonly key: string
  lastTakenMs = 0
  /** Questions of requests that wait: it is still needed. */
  waiting = 0
  #untilMs = 0
  #granted = 0n
  #running = 0n
  /** Since it was set. */
  #charged = 0n
  /** What counts below the key's ceiling besides, when it was set: charges before, and what others reserved. */
  #base = 0n
  #ceiling = 0n
  #voucher: Voucher | null = null
  #asking = false
  #recalled = false
  #lost = false

  constructor({ accountId, key }: { accountId: string; key: string }) {
    this.accountId = accountId
    this.key = key
  }

  get running(): bigint {
    return this.#running
  }

  /** At least what the database holds for it, as far as its answers came. */
  get granted(): bigint {
    return this.#granted
  }

  /** The best one, as long as the database has not got it. */
  get voucher(): Voucher | null {
    return this.#voucher
  }

  /** The database holds more than what runs, or may, or lacks a voucher. */
  get isIdle(): boolean {
    return this.#lost || this.#granted > this.#running || this.#voucher !== null
  }

  get isRecalled(): boolean {
    return this.#recalled
  }

  /** Nothing is left of it, here and in the database. */
  get isOver(): boolean {
    return !this.isIdle && this.#running === 0n && this.waiting === 0
  }

  /** It counts at once; the charge that needs it takes it to the database. */
  offer(voucher: Voucher): void {
    if (voucher.ceiling <= this.#ceiling) return
    this.#ceiling = voucher.ceiling
    this.#voucher = voucher
  }

  /** The database has got it. */
  keep(voucher: Voucher | null): void {
    if (this.#voucher === voucher) this.#voucher = null
  }

  /** Nothing is taken while the database is asked: its answer may be less than what there was. */
  take(max: bigint, nowMs: number): boolean {
    const used = this.#running + this.#charged
    if (this.#asking || nowMs >= this.#untilMs || used + max > this.#granted || this.#base + used + max > this.#ceiling)
      return false
    this.#running += max
    this.lastTakenMs = nowMs
    return true
  }

  /** Less may be sold than when it was set. */
  expire(): void {
    this.#untilMs = 0
    this.#recalled = true
  }

  free(max: bigint): void {
    this.#running -= max
  }

  charge(max: bigint): void {
    this.#running -= max
    this.#charged += max
  }

  /** Before the database is asked to set it; every question ends with an answer. */
  ask(): { running: bigint; charged: bigint } {
    this.#asking = true
    this.#recalled = false
    return { running: this.#running, charged: this.#charged }
  }

  /** `granted`: at least what ran when it was asked, and `taken`; null when it stays as it was. */
  answer(asked: { charged: bigint }, { granted, taken = 0n, untilMs = 0, base, ceiling }: Answer): void {
    this.#asking = false
    if (granted === null) return
    this.#granted = granted
    this.#charged -= asked.charged
    this.#running += taken
    this.#lost = false
    if (base !== undefined) this.#base = base
    if (ceiling !== undefined && ceiling > this.#ceiling) this.#ceiling = ceiling
    // The recall may have been on its way before the answer.
    this.#untilMs = this.#recalled ? 0 : untilMs
  }

  /** The database's answer was lost: it holds what it held or what it was asked for. Either covers what runs; nothing more is taken. */
  lose(): void {
    this.#asking = false
    this.#lost = true
    this.#untilMs = 0
  }
}

interface Answer {
  granted: bigint | null
  taken?: bigint
  untilMs?: number
  /** Of the key, as the database knows it. */
  base?: bigint
  ceiling?: bigint
}
