import { expect, test } from 'vitest'
import { NO_LIMITS } from '../../../services/core/limits.ts'
import type { Reserved } from '../../../services/core/selling-ledger.ts'
import { chargeOnce, closeAs, deliver, draftAll, fund, hex, newAccount, type OpenLedger, order } from './ledger-acts.ts'

const DAY = 86_400
/** Noon of 2026-11-22. */
const NOON = 20_779 * DAY + DAY / 2
const RICH = { deposit: 10_000n, ceiling: 10_000n }

/** Budgets and rates: under the account's lock, so never passed however many ask at once. */
export function ledgerLimits(open: () => OpenLedger): void {
  const accountOf = async () => fund(open().ledger, newAccount(), RICH)
  const succeeded = (answers: readonly Reserved[]) => answers.filter(({ ok }) => ok).length

  test('of 64 parallel requests on a budget for 10 exactly 10 are reserved, in two ledgers on one database', async () => {
    const { ledger } = open()
    const account = await accountOf()
    await ledger.setLimits({ accountId: account.accountId, key: account.key }, { ...NO_LIMITS, budgetPerDay: 109n }, NOON)
    await using other = await open().reopen()
    const answers = await Promise.all(
      Array.from({ length: 64 }, (_, i) => (i % 2 === 0 ? ledger : other).reserve(order(account, { max: 10n }), NOON)),
    )
    expect(succeeded(answers)).toBe(10)
    expect(answers.find(({ ok }) => !ok)).toEqual({
      ok: false,
      reason: 'limited',
      reached: {
        of: 'key',
        limit: 'budgetPerDay',
        most: 109n,
        used: 100n,
        resetsAt: NOON + DAY / 2,
        resetsInSeconds: DAY / 2,
      },
    })
  })

  test('a budget counts what was charged, not what was reserved, and starts anew with its period', async () => {
    const { ledger } = open()
    const account = await accountOf()
    const { accountId, key } = account
    await ledger.setLimits({ accountId, key }, { ...NO_LIMITS, budgetPerDay: 10n, budgetPerMonth: 25n }, NOON)
    const buy = async (charged: bigint, now: number) => {
      const reservation = order(account, { max: 10n })
      const reserved = await ledger.reserve(reservation, now)
      if (reserved.ok) await ledger.commit(deliver(reservation, { charged }))
      return reserved.ok ? 'bought' : reserved.reason === 'limited' && reserved.reached.limit
    }
    expect(await buy(4n, NOON)).toBe('bought')
    expect(await buy(4n, NOON)).toBe('budgetPerDay')
    expect(await buy(10n, NOON + DAY)).toBe('bought')
    expect(await buy(10n, NOON + 2 * DAY)).toBe('bought')
    expect(await buy(1n, NOON + 3 * DAY)).toBe('budgetPerMonth')
    expect(await buy(10n, NOON + 9 * DAY)).toBe('bought')
    expect(await ledger.limits(accountId)).toMatchObject([{ key, tally: { daySpent: 10n, monthSpent: 10n } }])
  })

  test('a budget set in the middle of a day knows what was spent before, and the account’s counts all its keys', async () => {
    const { ledger } = open()
    const account = await accountOf()
    const granted = await fund(ledger, { ...account, key: hex(20) }, { ...RICH, cap: 1000n })
    for (const buyer of [account, granted]) {
      const reservation = order(buyer, { max: 6n })
      expect(await ledger.reserve(reservation, NOON)).toEqual({ ok: true })
      await ledger.commit(deliver(reservation, { charged: 6n }))
    }
    await ledger.setLimits({ accountId: account.accountId, key: null }, { ...NO_LIMITS, budgetPerMonth: 15n }, NOON)
    expect(await ledger.reserve(order(granted, { max: 4n }), NOON)).toMatchObject({
      reason: 'limited',
      reached: { of: 'account', used: 12n, limit: 'budgetPerMonth' },
    })
    expect(await ledger.reserve(order(granted, { max: 3n }), NOON)).toEqual({ ok: true })
    expect(await ledger.reserve(order(account, { max: 1n }), NOON)).toMatchObject({ reached: { used: 15n } })
  })

  test('a charge that is voided is room in the budget again', async () => {
    const { ledger } = open()
    const account = await accountOf()
    const { accountId, key } = account
    await ledger.setLimits({ accountId, key }, { ...NO_LIMITS, budgetPerDay: 10n }, 1000)
    await chargeOnce(ledger, account, { charged: 8n })
    expect(await ledger.reserve(order(account, { max: 8n }), 1000)).toMatchObject({ reason: 'limited' })
    const draft = await draftAll(ledger, account.config.collector)
    await ledger.closeBatch({ ...closeAs(draft), lanes: [], skippedRows: [{ row: 0, reason: 'Unfunded' }] })
    expect(await ledger.limits(accountId)).toMatchObject([{ tally: { daySpent: 0n, monthSpent: 0n } }])
    expect(await ledger.reserve(order(account, { max: 8n }), 1000)).toEqual({ ok: true })
  })

  test('a charge that is voided, due again after a reorganisation and voided again is given back once', async () => {
    const { ledger } = open()
    const account = await accountOf()
    const { accountId, key } = account
    await ledger.setLimits({ accountId, key }, { ...NO_LIMITS, budgetPerDay: 100n }, 1000)
    await chargeOnce(ledger, account, { charged: 8n })
    const draft = await draftAll(ledger, account.config.collector)
    await chargeOnce(ledger, account, { charged: 30n })
    const spent = async () => (await ledger.limits(accountId))[0]?.tally
    const voiding = { ...closeAs(draft), lanes: [], skippedRows: [{ row: 0, reason: 'Unfunded' }] }
    for (const turn of [1, 2]) {
      await ledger.closeBatch(voiding)
      expect(await spent(), `turn ${turn}`).toMatchObject({ daySpent: 30n, monthSpent: 30n })
      await ledger.reopenBatch(draft.batchId)
      expect(await spent(), `turn ${turn}`).toMatchObject({ daySpent: 38n, monthSpent: 38n })
    }
    await ledger.closeBatch(closeAs(draft))
    expect(await spent()).toMatchObject({ daySpent: 38n, monthSpent: 38n })
  })

  test('a gateway that sees midnight later than another sells on the new day’s budget and minute, not beside them', async () => {
    const { ledger } = open()
    const account = await accountOf()
    const { accountId, key } = account
    const midnight = NOON + DAY / 2
    const limits = { ...NO_LIMITS, budgetPerDay: 10n, requestsPerMinute: 4 }
    await ledger.setLimits({ accountId, key }, limits, midnight - 1)
    const buy = async (charged: bigint, now: number) => {
      const reservation = order(account, { max: charged })
      const reserved = await ledger.reserve(reservation, now)
      if (reserved.ok) await ledger.commit(deliver(reservation, { charged }))
      return reserved.ok ? 'bought' : reserved.reason === 'limited' && reserved.reached.limit
    }
    expect(await buy(10n, midnight - 1)).toBe('bought')
    expect(await buy(1n, midnight)).toBe('bought')
    expect(await buy(5n, midnight - 1)).toBe('bought')
    expect(await buy(5n, midnight - 1)).toBe('budgetPerDay')
    expect(await buy(4n, midnight)).toBe('bought')
    expect(await buy(1n, midnight - 1)).toBe('budgetPerDay')
    await ledger.setLimits({ accountId, key }, { ...limits, budgetPerDay: null }, midnight)
    for (const now of [midnight - 1, midnight, midnight - 1]) await buy(1n, now)
    expect(await buy(1n, midnight - 1)).toBe('requestsPerMinute')
    expect(await ledger.limits(accountId)).toMatchObject([{ tally: { minuteRequests: 4 } }])
  })

  test('parallel requests are those that run; one that ends makes room', async () => {
    const { ledger } = open()
    const account = await accountOf()
    await ledger.setLimits({ accountId: account.accountId, key: null }, { ...NO_LIMITS, parallel: 5 }, NOON)
    const orders = Array.from({ length: 64 }, () => order(account))
    const answers = await Promise.all(orders.map((one) => ledger.reserve(one, NOON)))
    expect(succeeded(answers)).toBe(5)
    expect(answers.find(({ ok }) => !ok)).toMatchObject({ reached: { limit: 'parallel', used: 5n, resetsAt: null } })
    const running = orders.filter((_, index) => answers[index]?.ok)
    await ledger.release(running[0]?.requestId ?? '', 'gone')
    if (running[1]) await ledger.commit(deliver(running[1], { charged: 1n }))
    expect(succeeded(await Promise.all(Array.from({ length: 8 }, () => ledger.reserve(order(account), NOON))))).toBe(2)
  })

  test('requests a minute are counted by the chain’s minute, repeats and refusals not at all', async () => {
    const { ledger } = open()
    const account = await accountOf()
    const { accountId, key } = account
    await ledger.setLimits({ accountId, key }, { ...NO_LIMITS, requestsPerMinute: 3 }, NOON)
    const first = order(account, { idempotencyKey: 'same' })
    expect(await ledger.reserve(first, NOON)).toEqual({ ok: true })
    expect(await ledger.reserve({ ...first, requestId: hex(32) }, NOON)).toMatchObject({ reason: 'repeated' })
    expect(await ledger.reserve(order(account, { max: 99_999n }), NOON)).toMatchObject({ reason: 'insufficient' })
    const answers = await Promise.all(Array.from({ length: 20 }, () => ledger.reserve(order(account), NOON + 59)))
    expect(succeeded(answers)).toBe(2)
    expect(answers.find(({ ok }) => !ok)).toMatchObject({ reached: { limit: 'requestsPerMinute', resetsInSeconds: 1 } })
    expect(await ledger.reserve(order(account), NOON + 60)).toEqual({ ok: true })
  })

  test('limits can be lifted, and an unknown account has none', async () => {
    const { ledger } = open()
    const account = await accountOf()
    const of = { accountId: account.accountId, key: account.key }
    await ledger.setLimits(of, { ...NO_LIMITS, budgetPerDay: 0n }, NOON)
    expect(await ledger.reserve(order(account), NOON)).toMatchObject({ reason: 'limited' })
    expect(await ledger.setLimits(of, NO_LIMITS, NOON)).toBe(true)
    expect(await ledger.reserve(order(account), NOON)).toEqual({ ok: true })
    expect(await ledger.setLimits({ accountId: hex(32), key: null }, NO_LIMITS, NOON)).toBe(false)
  })
}
