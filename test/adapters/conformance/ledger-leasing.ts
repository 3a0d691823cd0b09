import { describe, expect, test } from 'vitest'
import { CommitRefused } from '../../../services/core/commit-refused.ts'
import type { Ledger } from '../../../services/core/ports.ts'
import type { Committed, Reservation } from '../../../services/core/selling-ledger.ts'
import { deliver, fund, hex, newAccount, type OpenLedger, order, type TestAccount, untilLeasing } from './ledger-acts.ts'

/** Room that a gateway reserves as a whole: it may sell it without asking, and never sells what is not there any more. */
export function ledgerLeasing(open: () => OpenLedger): void {
  const leasedOrder = (account: TestAccount, overrides: Partial<Reservation> = {}) =>
    order(account, { leased: true, dispatched: true, ...overrides })
  const funded = async (ledger: Ledger, deposit: bigint) => {
    const account = await fund(ledger, newAccount(), { deposit, ceiling: deposit })
    await untilLeasing(ledger, account)
    return account
  }
  const refusal = (commit: Promise<unknown>) =>
    commit.then(
      () => null,
      (error) => (error instanceof CommitRefused ? error.refused : Promise.reject(error)),
    )

  describe('leases', () => {
    test('a request on a lease is written when it is charged, and shown as running before', async () => {
      const { ledger, reopen } = open()
      await using other = await reopen()
      const account = await funded(ledger, 1000n)
      const asked = leasedOrder(account)
      expect(await ledger.reserve(asked, 1000)).toEqual({ ok: true })
      expect(await other.request(asked.requestId)).toBeNull()
      expect(await ledger.request(asked.requestId)).toMatchObject({ state: 'DISPATCHED', bodyHash: asked.bodyHash })
      expect((await other.standing(account.accountId, account.key))?.reserved).toBeGreaterThan(1n)
      // Whoever looks at this gateway's books sees what really runs.
      expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ reserved: 1n, accountReserved: 1n })
      await ledger.commit(deliver(asked, { charged: 1n }))
      expect(await other.request(asked.requestId)).toMatchObject({ state: 'COMMITTED', charged: 1n })
      expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ spent: 1n, reserved: 0n, accountCharged: 1n })
    })

    test('a voucher with each request is in the books as soon as a charge needs it, and is not lost with a request that is released', async () => {
      const { ledger, reopen } = open()
      await using other = await reopen()
      const account = await funded(ledger, 1000n)
      const { accountId, key } = account
      const voucher = (ceiling: bigint) => ({ accountId, key, ceiling, usageHead: hex(32), signature: hex(65) })
      const ceilingIn = async (at: Ledger) => (await at.standing(accountId, key))?.ceiling
      const spend = async (ceiling: bigint, max: bigint) => {
        const asked = leasedOrder(account, { max, voucher: voucher(ceiling) })
        expect(await ledger.reserve(asked, 1000)).toEqual({ ok: true })
        return asked
      }
      await ledger.commit(deliver(await spend(1000n, 990n), { charged: 990n }))
      // The deposit is used up to 10, the ceiling may rise beyond it.
      for (const ceiling of [1001n, 1002n]) await ledger.commit(deliver(await spend(ceiling, 1n), { charged: 1n }))
      expect(await ceilingIn(other)).toBe(1002n)
      const released = await spend(1005n, 1n)
      await ledger.release(released.requestId, 'test')
      expect(await ceilingIn(ledger)).toBe(1005n)
      expect(await ceilingIn(other)).toBe(1005n)
    })

    test('one voucher at two gateways pays for what it says, and what is delivered beyond it is not charged', async () => {
      const { ledger, reopen } = open()
      await using other = await reopen()
      const account = await fund(ledger, newAccount(), { deposit: 1000n, ceiling: 10n })
      for (const one of [ledger, other]) await untilLeasing(one, account)
      const { accountId, key } = account
      const before = await Promise.all([ledger, other].map(async (at) => ({ at, asked: leasedOrder(account) })))
      for (const { at, asked } of before) expect(await at.reserve(asked, 1000)).toEqual({ ok: true })
      const voucher = { accountId, key, ceiling: 20n, usageHead: hex(32), signature: hex(65) }
      const sales = before.map(({ at }) => ({ at, asked: leasedOrder(account, { max: 18n, voucher }) }))
      const reserved = await Promise.all(sales.map(({ at, asked }) => at.reserve(asked, 1000)))
      const running = sales.filter((_, index) => reserved[index]?.ok)
      expect(running.length).toBeGreaterThan(0)
      const refusals = await Promise.all(running.map(({ at, asked }) => refusal(at.commit(deliver(asked, { charged: 18n })))))
      expect(refusals.filter((one) => one === null)).toHaveLength(1)
      for (const one of refusals) if (one) expect(one).toMatchObject({ reason: 'insufficient', limit: 'ceiling' })
      for (const { at, asked } of [...before, ...running]) await at.release(asked.requestId, 'test')
      await other.standing(accountId, key)
      expect(await ledger.standing(accountId, key)).toMatchObject({ spent: 18n, reserved: 0n, ceiling: 20n })
    })

    test('a released one leaves its room and its reason', async () => {
      const { ledger, reopen } = open()
      await using other = await reopen()
      const account = await funded(ledger, 1000n)
      const asked = leasedOrder(account)
      await ledger.reserve(asked, 1000)
      await Promise.all([ledger.release(asked.requestId, 'provider.gone'), ledger.release(asked.requestId, 'provider.gone')])
      expect(await other.request(asked.requestId)).toMatchObject({ state: 'RELEASED', reason: 'provider.gone' })
      expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ spent: 0n, reserved: 0n })
      // A commit that was under way for long can't charge it any more.
      await expect(ledger.commit(deliver(asked, { charged: 1n }))).rejects.toMatchObject({ code: 'internal' })
    })

    test('of 100 in parallel at two gateways for 60 places, 60 are sold', async () => {
      const { ledger, reopen } = open()
      await using other = await reopen()
      const account = await funded(ledger, 60n)
      await untilLeasing(other, account)
      const asked = Array.from({ length: 100 }, () => leasedOrder(account))
      const answers = await Promise.all(asked.map((one, index) => (index % 2 ? other : ledger).reserve(one, 1000)))
      expect(answers.filter(({ ok }) => ok)).toHaveLength(60)
    })

    test('the same key while it runs is a repeat, with another body a conflict, and charged it is found', async () => {
      const { ledger } = open()
      const account = await funded(ledger, 1000n)
      const asked = leasedOrder(account)
      const again = { ...leasedOrder(account), idempotencyKey: asked.idempotencyKey, bodyHash: asked.bodyHash }
      const both = await Promise.all([ledger.reserve(asked, 1000), ledger.reserve(again, 1000)])
      const running = { reason: 'repeated', request: { requestId: asked.requestId, state: 'DISPATCHED' } }
      expect(both).toMatchObject([{ ok: true }, running])
      expect(await ledger.reserve({ ...again, leased: false }, 1000)).toMatchObject(running)
      expect(await ledger.requestBefore(asked)).toMatchObject(running.request)
      expect(await ledger.reserve({ ...again, bodyHash: hex(32) }, 1000)).toMatchObject({ reason: 'conflict' })
      await ledger.commit(deliver(asked, { charged: 1n }))
      expect(await ledger.reserve(again, 1000)).toMatchObject({ reason: 'repeated', request: { state: 'COMMITTED' } })
      expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ spent: 1n, reserved: 0n })
    })

    test('one key at two gateways is charged once; the other learns of it, and looks before it sells from then on', async () => {
      const { ledger, reopen } = open()
      await using other = await reopen()
      const account = await funded(ledger, 1000n)
      await untilLeasing(other, account)
      const here = leasedOrder(account)
      const there = leasedOrder(account, { idempotencyKey: here.idempotencyKey, bodyHash: here.bodyHash })
      expect(await ledger.reserve(here, 1000)).toEqual({ ok: true })
      expect(await other.reserve(there, 1000)).toEqual({ ok: true })
      const answer = Buffer.from('sealed')
      await ledger.commit({ ...deliver(here, { charged: 1n }), sealAnswer: () => answer })
      const refused = await refusal(other.commit(deliver(there, { charged: 1n })))
      expect(refused).toMatchObject({
        reason: 'repeated',
        request: { requestId: here.requestId, state: 'COMMITTED', answer: new Uint8Array(answer) },
      })
      await other.release(there.requestId, 'repeated')
      expect(await other.standing(account.accountId, account.key)).toMatchObject({ spent: 1n, accountCharged: 1n })
      const next = leasedOrder(account)
      const nextThere = leasedOrder(account, { idempotencyKey: next.idempotencyKey, bodyHash: next.bodyHash })
      await ledger.reserve(next, 1000)
      await ledger.commit(deliver(next, { charged: 1n }))
      expect(await other.reserve(nextThere, 1000)).toMatchObject({ reason: 'repeated' })
    })

    test('money that begins to thaw, a key that ends and a limit that another gateway sets are heard', async () => {
      const { ledger, reopen } = open()
      await using other = await reopen()
      const heard = async (reserve: () => ReturnType<Ledger['reserve']>, reason: string) => {
        await expect.poll(async () => (await reserve()) as { reason?: string }, { timeout: 5000 }).toMatchObject({ reason })
      }
      const thawing = await funded(ledger, 1000n)
      await ledger.reserve(leasedOrder(thawing), 1000)
      await fund(other, thawing, { deposit: 1000n, thawing: 1000n })
      await heard(() => ledger.reserve(leasedOrder(thawing), 1000), 'insufficient')

      const ending = await fund(ledger, { ...newAccount(), key: hex(20) }, { deposit: 1000n, ceiling: 1000n, cap: 1000n })
      await ledger.reserve(leasedOrder(ending), 1000)
      await fund(other, ending, { deposit: 1000n, cap: 1000n, revokedAt: 900 })
      await heard(() => ledger.reserve(leasedOrder(ending), 1000), 'key-ended')

      const limited = await funded(ledger, 1000n)
      await ledger.reserve(leasedOrder(limited), 1000)
      const none = { requestsPerMinute: null, parallel: null, budgetPerDay: 1n, budgetPerMonth: null }
      await other.setLimits({ accountId: limited.accountId, key: null }, none, 1000)
      await heard(() => ledger.reserve(leasedOrder(limited, { max: 2n }), 1000), 'limited')
    })

    test('what runs is charged though its money thaws, its key ends or its cap falls meanwhile, together or alone', async () => {
      const { ledger, reopen } = open()
      await using other = await reopen()
      const account = await fund(ledger, { ...newAccount(), key: hex(20) }, { deposit: 1000n, ceiling: 1000n, cap: 1000n })
      await untilLeasing(ledger, account)
      const asked = Array.from({ length: 4 }, () => leasedOrder(account, { max: 10n }))
      for (const one of asked) expect(await ledger.reserve(one, 1000)).toEqual({ ok: true })
      await fund(other, account, { deposit: 1000n, thawing: 1000n, cap: 5n, revokedAt: 900 })
      const isSold = async () => {
        const more = leasedOrder(account)
        const { ok } = await ledger.reserve(more, 1000)
        if (ok) await ledger.release(more.requestId, 'test')
        return ok
      }
      await expect.poll(isSold).toBe(false)
      const deliveries = asked.map((one) => deliver(one, { charged: 10n }))
      // What can't be answered in a group is done alone.
      const fails = new Map([
        [1, 2],
        [3, 2],
      ])
      const charged = deliveries.map((delivery, index) => ({
        ...delivery,
        answerOf: (committed: Committed & { group: readonly string[] }) => {
          const left = fails.get(index) ?? 0
          fails.set(index, left - 1)
          if (left > 0) throw new Error('not in a group')
          return delivery.answerOf(committed)
        },
      }))
      expect(await Promise.all(charged.map((one) => refusal(ledger.commit(one))))).toEqual(asked.map(() => null))
      for (const index of fails.keys()) expect(fails.get(index)).toBeLessThan(0)
      expect(await ledger.standing(account.accountId, account.key)).toMatchObject({
        spent: 40n,
        accountCharged: 40n,
        reserved: 0n,
      })
    })

    test('who was taken for dead charges what still has room, and is refused what has not', async () => {
      const { ledger, reopen } = open()
      await using other = await reopen()
      const account = await funded(ledger, 100n)
      const owner = `gateway-${hex(8)}`
      const asked = [30n, 31n].map((max) => leasedOrder(account, { max, owner }))
      for (const one of asked) expect(await ledger.reserve(one, 1000)).toEqual({ ok: true })
      // As its namesake does that was started in its place.
      await other.releaseLeftovers(owner)
      expect(await other.reserve(order(account, { max: 60n }), 1000)).toEqual({ ok: true })
      const [small, large] = asked as [Reservation, Reservation]
      expect(await refusal(ledger.commit(deliver(small, { charged: 30n })))).toBeNull()
      expect(await refusal(ledger.commit(deliver(large, { charged: 31n })))).toMatchObject({
        reason: 'insufficient',
        limit: 'deposit',
        available: 10n,
      })
      await ledger.release(large.requestId, 'insufficient')
      expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ accountCharged: 30n, accountReserved: 60n })
    })

    test('a dead one’s leases come back to the others once they are old, and nothing of a living one’s', async () => {
      const { ledger, reopen } = open()
      await using other = await reopen()
      const account = await funded(ledger, 100n)
      const [dead, living] = [`gateway-${hex(8)}`, `gateway-${hex(8)}`]
      await using _claim = await ledger.claimOwner(living)
      await ledger.reserve(leasedOrder(account, { owner: dead }), 1000)
      const heldBy = async () => (await other.standing(account.accountId, account.key))?.reserved
      expect(await heldBy()).toBeGreaterThan(0n)
      await other.releaseOrphans({ reservedBefore: 1000 })
      expect(await heldBy()).toBeGreaterThan(0n)
      await other.releaseOrphans({ reservedBefore: 1001 })
      expect(await heldBy()).toBe(0n)
      const second = await funded(ledger, 100n)
      await ledger.reserve(leasedOrder(second, { owner: living }), 1000)
      await other.releaseOrphans({ reservedBefore: 1001 })
      expect((await other.standing(second.accountId, second.key))?.reserved).toBeGreaterThan(0n)
    })

    test('a ledger that closes gives back what it leased', async () => {
      const { ledger, reopen } = open()
      const closing = await reopen()
      const account = await fund(ledger, newAccount(), { deposit: 100n, ceiling: 100n })
      await untilLeasing(closing, account)
      await closing.reserve(leasedOrder(account), 1000)
      expect((await ledger.standing(account.accountId, account.key))?.reserved).toBeGreaterThan(0n)
      await closing[Symbol.asyncDispose]()
      expect((await ledger.standing(account.accountId, account.key))?.reserved).toBe(0n)
    })

    test('a reservation of what others lease and do not use calls it back', async () => {
      const { ledger, reopen } = open()
      await using other = await reopen()
      const account = await funded(ledger, 100n)
      await ledger.reserve(leasedOrder(account), 1000)
      expect((await other.standing(account.accountId, account.key))?.reserved).toBeGreaterThan(1n)
      expect(await other.reserve(order(account, { max: 99n }), 1000)).toEqual({ ok: true })
      expect(await other.reserve(order(account), 1000)).toMatchObject({ reason: 'insufficient', available: 0n })
    })
  })
}
