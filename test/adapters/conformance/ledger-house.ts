import { describe, expect, it } from 'vitest'
import type { NewPayment } from '../../../services/core/payment-ledger.ts'
import type { Ledger } from '../../../services/core/ports.ts'
import {
  chargeOnce,
  closeAs,
  deliver,
  draftAll,
  draftAllOptions,
  fund,
  hex,
  newAccount,
  type OpenLedger,
  order,
  type TestAccount,
} from './ledger-acts.ts'

/** The accounts of x402 routers: what they owe is there before their money. */
export function ledgerHouse(opened: () => OpenLedger): void {
  describe('a house account', () => {
    it('reserves and commits before its money is there, and settles only once it is', async () => {
      const { ledger } = opened()
      const account = await openHouse(opened().ledger)
      const { delivery } = await chargeOnce(ledger, account, { charged: 10n, servedAt: 1000 })
      const options = draftAllOptions(account.config.collector)
      expect(await ledger.draftBatch(options)).toBeNull()
      await fund(ledger, account, { deposit: 10n, cap: 10n ** 20n })
      const draft = await draftAll(ledger, account.config.collector)
      expect(draft.rows).toMatchObject([{ key: account.key, requestIds: [delivery.requestId], parts: [{ amount: 10n }] }])
      expect(await ledger.closeBatch(closeAs(draft))).toEqual({ final: 1, retried: 0, voided: 0 })
    })

    it('takes as many requests at once as come, beyond what has been swept, beside accounts that have a limit', async () => {
      const { ledger } = opened()
      const [account, other] = [await openHouse(opened().ledger), newAccount()]
      await fund(ledger, account, { deposit: 15n, cap: 10n ** 20n })
      await fund(ledger, other, { deposit: 15n, ceiling: 100n })
      const asked = Array.from({ length: 80 }, (_, index) => order(index % 2 ? account : other, { max: 10n }))
      const reserved = await Promise.all(asked.map((one) => ledger.reserve(one, 1000)))
      const taken = asked.filter((_, index) => reserved[index]?.ok)
      expect(taken.filter(({ accountId }) => accountId === account.accountId)).toHaveLength(40)
      expect(taken.filter(({ accountId }) => accountId === other.accountId)).toHaveLength(1)
      const committed = await Promise.all(taken.map((one) => ledger.commit(deliver(one, { charged: 10n }))))
      expect(new Set(committed.map(({ head }) => head)).size).toBe(41)
      expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ accountCharged: 400n, reserved: 0n })
    })

    it('charges nothing for good when its money does not come in time: what was paid can go back', async () => {
      const { ledger } = opened()
      const account = await openHouse(opened().ledger)
      const one = payment({ router: hex(20) })
      await paidFor(opened().ledger, { account, one, charged: 10n })
      const { collector } = account.config
      expect(await ledger.draftBatch(draftAllOptions(collector))).toBeNull()
      expect(await ledger.expire({ collector, servedBefore: 1001 })).toBe(1)
      expect(await earned(opened().ledger, account)).toBe(0n)
      expect(await ledger.returnable(one.router, { endedBefore: 0, least: 1n, limit: 10 })).toMatchObject([
        { nonce: one.nonce, requestState: 'VOIDED' },
      ])
    })

    it('is opened again without losing what it has', async () => {
      const { ledger } = opened()
      const account = await openHouse(opened().ledger)
      await chargeOnce(ledger, account, { charged: 3n })
      await ledger.openHouse(account.accountId, account.config)
      expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ spent: 3n, ceiling: 10n ** 20n })
    })

    it('is the only kind that needs no deposit', async () => {
      const { ledger } = opened()
      const account = { ...newAccount(), key: hex(20) }
      await ledger.knowAccount(account.accountId, account.config)
      await fund(ledger, account, { deposit: 0n, cap: 100n, ceiling: 100n })
      expect(await ledger.reserve(order(account, { max: 1n }), 1000)).toEqual({ ok: false, reason: 'account-unknown' })
    })
  })
}

export const payment = (changed: Partial<NewPayment> = {}): NewPayment => ({
  payer: hex(20),
  nonce: hex(32),
  router: hex(20),
  value: 10n,
  validAfter: 0,
  validBefore: 2000,
  signature: hex(65),
  requestId: hex(32),
  bodyHash: hex(32),
  owner: 'x402:gateway-1',
  ...changed,
})

/** A router's account with a key of its own and a voucher without a limit, as the chain shows it before any sweep. */
export async function openHouse(ledger: Ledger): Promise<TestAccount> {
  const account = { ...newAccount(), key: hex(20) }
  await ledger.openHouse(account.accountId, account.config)
  return fund(ledger, account, { deposit: 0n, cap: 10n ** 20n, ceiling: 10n ** 20n })
}

/** As the gateway sweeps it: the house account is charged for nothing else. */
export async function earned(ledger: Ledger, { accountId, key }: TestAccount): Promise<bigint | undefined> {
  return (await ledger.standing(accountId, key))?.accountCharged
}

/** Reserved, delivered, settled and committed, for at most the payment's value. */
export async function paidFor(
  ledger: Ledger,
  { account, one, charged }: { account: TestAccount; one: NewPayment; charged: bigint },
): Promise<void> {
  const reservation = order(account, { requestId: one.requestId, max: one.value })
  await ledger.openPayment(one, null)
  expect(await ledger.reserve(reservation, 1000)).toEqual({ ok: true })
  await ledger.dispatched(one.requestId, reservation.provider)
  await ledger.paymentDelivered(one, new Uint8Array([1]))
  await ledger.paymentSettled(one, { transaction: hex(32), block: 2 })
  await ledger.commit(deliver(reservation, { charged }))
  await ledger.paymentAnswered(one)
}
