import { expect, test } from 'vitest'
import { NO_LIMITS } from '../../../services/core/limits.ts'
import type { Ledger } from '../../../services/core/ports.ts'
import type { Progress, Reservation } from '../../../services/core/selling-ledger.ts'
import { deliver, fund, hex, newAccount, type OpenLedger, order, type TestAccount } from './ledger-acts.ts'

const NOW = 1000
const RICH = { deposit: 10_000n, ceiling: 10_000n }

/** Reservations that grow while their request runs, and what is kept of a stream on its way. */
export function ledgerExtending(open: () => OpenLedger): void {
  async function running(account: TestAccount, overrides: Partial<Reservation> = {}): Promise<Reservation> {
    const reservation = order(account, overrides)
    expect(await open().ledger.reserve(reservation, NOW)).toEqual({ ok: true })
    return reservation
  }
  const progressOf = (reservation: Reservation, charged: bigint): Progress => {
    const { requestId, receipt, providerSignature } = deliver(reservation, { charged })
    return { requestId, charged, receipt, providerSignature }
  }

  test('of 100 requests that all grow by one at once, in two ledgers, exactly as many do as the limit has room for', async () => {
    const limits = { ceiling: { deposit: 1000n, ceiling: 160n }, deposit: { deposit: 160n, ceiling: 1000n } } as const
    for (const [limit, chain] of Object.entries(limits)) {
      const account = await fund(open().ledger, newAccount(), chain)
      const requests = await Promise.all(Array.from({ length: 100 }, () => running(account)))
      await using other = await open().reopen()
      const answers = await Promise.all(
        requests.map(({ requestId }, i) => (i % 2 === 0 ? open().ledger : other).extend({ requestId, max: 2n }, NOW)),
      )
      expect(answers.filter(({ ok }) => ok)).toHaveLength(60)
      expect(answers.find(({ ok }) => !ok)).toEqual({ ok: false, reason: 'insufficient', limit, available: 0n, required: 1n })
      expect(await open().ledger.standing(account.accountId, account.key)).toMatchObject({ reserved: 160n })
    }
  })

  test('growing and reserving at once never pass the cap of a granted key together', async () => {
    const { ledger } = open()
    const owner = await fund(ledger, newAccount(), RICH)
    const granted = await fund(ledger, { ...owner, key: hex(20) }, { ...RICH, cap: 50n })
    const requests = await Promise.all(Array.from({ length: 20 }, () => running(granted)))
    const answers = await Promise.all([
      ...requests.map(({ requestId }) => ledger.extend({ requestId, max: 3n }, NOW)),
      ...Array.from({ length: 20 }, () => ledger.reserve(order(granted, { max: 2n }), NOW)),
    ])
    expect(answers.filter(({ ok }) => ok)).toHaveLength(15)
    expect(await ledger.standing(granted.accountId, granted.key)).toMatchObject({ reserved: 50n })
  })

  test('a budget holds for what grows, and neither parallel requests nor those of a minute are counted again', async () => {
    const { ledger } = open()
    const account = await fund(ledger, newAccount(), RICH)
    const of = { accountId: account.accountId, key: account.key }
    await ledger.setLimits(of, { ...NO_LIMITS, budgetPerDay: 10n, parallel: 1, requestsPerMinute: 1 }, NOW)
    const { requestId } = await running(account)
    for (const max of [4n, 10n]) expect(await ledger.extend({ requestId, max }, NOW)).toEqual({ ok: true, reserved: max })
    expect(await ledger.extend({ requestId, max: 11n }, NOW)).toMatchObject({
      reason: 'limited',
      reached: { limit: 'budgetPerDay', of: 'key', most: 10n, used: 10n },
    })
    expect(await ledger.standing(of.accountId, of.key)).toMatchObject({ reserved: 10n })
  })

  test('a voucher that comes along makes room and is kept, also when it is not enough', async () => {
    const { ledger } = open()
    const account = await fund(ledger, newAccount(), { deposit: 1000n, ceiling: 5n })
    const { requestId } = await running(account, { max: 5n })
    const voucher = (ceiling: bigint) => ({
      accountId: account.accountId,
      key: account.key,
      ceiling,
      usageHead: hex(32),
      signature: hex(65),
    })
    const refused = await ledger.extend({ requestId, max: 20n, voucher: voucher(8n) }, NOW)
    expect(refused).toEqual({ ok: false, reason: 'insufficient', limit: 'ceiling', available: 3n, required: 15n })
    expect(await ledger.extend({ requestId, max: 8n }, NOW)).toEqual({ ok: true, reserved: 8n })
    expect(await ledger.extend({ requestId, max: 20n, voucher: voucher(20n) }, NOW)).toEqual({ ok: true, reserved: 20n })
    expect(await ledger.extend({ requestId, max: 6n }, NOW)).toEqual({ ok: true, reserved: 20n })
  })

  test('what has ended does not grow, nor what a revoked or expired key runs', async () => {
    const { ledger } = open()
    const account = await fund(ledger, newAccount(), RICH)
    const [released, committed] = [await running(account), await running(account)]
    await ledger.release(released.requestId, 'test')
    await ledger.commit(deliver(committed, { charged: 1n }))
    for (const requestId of [released.requestId, committed.requestId, hex(32)])
      expect(await ledger.extend({ requestId, max: 9n }, NOW)).toEqual({ ok: false, reason: 'ended' })
    const granted = await fund(ledger, { ...account, key: hex(20) }, { ...RICH, cap: 50n, notAfter: NOW + 10 })
    const { requestId } = await running(granted)
    expect(await ledger.extend({ requestId, max: 2n }, NOW + 9)).toMatchObject({ ok: true })
    expect(await ledger.extend({ requestId, max: 3n }, NOW + 10)).toEqual({ ok: false, reason: 'key-ended' })
    await fund(ledger, granted, { ...RICH, cap: 50n, revokedAt: NOW })
    expect(await ledger.extend({ requestId, max: 3n }, NOW)).toEqual({ ok: false, reason: 'key-ended' })
  })

  test('what was delivered before a kill waits for its gateway, is not released, and is charged once', async () => {
    const account = await fund(open().ledger, newAccount(), RICH)
    const owner = `gateway:${hex(4)}`
    const [begun, unbegun] = [await running(account, { owner, max: 9n }), await running(account, { owner, max: 9n })]
    await running(account, { max: 9n })
    await open().ledger.recordProgress(progressOf(begun, 3n))
    await open().ledger.recordProgress(progressOf(begun, 7n))
    await expect(open().ledger.recordProgress(progressOf(begun, 5n))).rejects.toMatchObject({ code: 'internal' })
    await expect(open().ledger.recordProgress(progressOf(begun, 10n))).rejects.toMatchObject({ code: 'internal' })

    await using ledger: Ledger = await open().reopen()
    await ledger.release(begun.requestId, 'test')
    expect(await ledger.leftoverProgress(owner, 10)).toEqual([progressOf(begun, 7n)])
    const orphaned = { reservedBefore: NOW + 1, limit: 1000 }
    expect(await ledger.orphanedProgress(orphaned)).toContainEqual(progressOf(begun, 7n))
    expect(await ledger.orphanedProgress({ ...orphaned, reservedBefore: NOW })).not.toContainEqual(progressOf(begun, 7n))
    const claim = await ledger.claimOwner(owner)
    expect(await ledger.orphanedProgress(orphaned)).not.toContainEqual(progressOf(begun, 7n))
    await claim[Symbol.asyncDispose]()
    expect(await ledger.releaseLeftovers(owner)).toBe(1)
    expect(await ledger.request(unbegun.requestId)).toMatchObject({ state: 'RELEASED' })
    expect(await ledger.request(begun.requestId)).toMatchObject({ state: 'RESERVED' })

    const delivery = { ...deliver(begun, { charged: 7n }), inSteps: true }
    const first = await ledger.commit(delivery)
    expect(await ledger.commit(delivery)).toEqual(first)
    expect(await ledger.leftoverProgress(owner, 10)).toEqual([])
    expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ spent: 7n, reserved: 9n })
    expect(await open().book.sumsOfRequests()).toEqual([])
    await expect(ledger.recordProgress(progressOf(begun, 8n))).rejects.toMatchObject({ code: 'internal' })
  })
}
