import { toUtf8Bytes } from 'ethers'
import { expect, test } from 'vitest'
import { sumUsage } from '../../../services/core/usage.ts'
import { chargeOnce, closeAs, deliver, draftAllOptions, fund, hex, newAccount, type OpenLedger, order } from './ledger-acts.ts'

const DAY = 86_400

/** What was bought by whom, keys that take another's place, and answers that are forgotten. */
export function ledgerUsage(open: () => OpenLedger): void {
  test('usage by day, model and key adds up to the double entry, with voided requests counted apart', async () => {
    const { ledger } = open()
    const own = await fund(ledger, newAccount(), { deposit: 10_000n, ceiling: 10_000n })
    const granted = await fund(ledger, { ...own, key: hex(20) }, { deposit: 10_000n, ceiling: 1000n, cap: 1000n })
    const models = [hex(32), hex(32)]
    for (const account of [own, granted])
      for (let i = 0; i < 6; i += 1)
        await chargeOnce(ledger, account, { charged: BigInt(i + 1), modelId: models[i % 2] ?? '', servedAt: (i % 3) * DAY + 5 })
    const all = { from: 0, to: 10 * DAY, limit: 100 }
    const lines = await ledger.usage(own.accountId, all)
    expect(lines).toHaveLength(12)
    expect(sumUsage(lines)).toMatchObject({ requests: 12, units: 12n, charged: 42n, settled: 0n, voided: 0 })
    expect(await open().book.balance(`account:${own.accountId}`)).toBe(-42n)
    const ofGranted = await ledger.usage(own.accountId, { ...all, key: granted.key })
    expect(new Set(ofGranted.map(({ key }) => key))).toEqual(new Set([granted.key]))
    expect(sumUsage(ofGranted).charged).toBe(21n)
    expect(sumUsage(await ledger.usage(own.accountId, { ...all, from: DAY, to: 2 * DAY })).charged).toBe(2n * (2n + 5n))
    expect(await ledger.usage(own.accountId, { ...all, limit: 3 })).toHaveLength(3)

    const draft = await ledger.draftBatch({ ...draftAllOptions(own.config.collector), servedBefore: 10 * DAY })
    if (!draft) throw new Error('nothing to settle')
    const skipped = draft.rows.findIndex(({ key }) => key === granted.key)
    const outcome = closeAs(draft, (row) => row !== skipped)
    await ledger.closeBatch({ ...outcome, skippedRows: [{ row: skipped, reason: 'Unfunded' }] })
    const after = sumUsage(await ledger.usage(own.accountId, all))
    expect(after).toMatchObject({ requests: 6, charged: 21n, settled: 21n, voided: 6 })
    expect(await open().book.balance(`account:${own.accountId}`)).toBe(-21n)
  })

  test('a statement of one key leaves the others out', async () => {
    const { ledger } = open()
    const own = await fund(ledger, newAccount(), { deposit: 100n, ceiling: 100n })
    const granted = await fund(ledger, { ...own, key: hex(20) }, { deposit: 100n, ceiling: 100n, cap: 100n })
    const mine = await chargeOnce(ledger, granted, { charged: 3n })
    await chargeOnce(ledger, own, { charged: 5n })
    const lines = await ledger.statement(own.accountId, { limit: 10, key: granted.key })
    expect(lines.map(({ requestId }) => requestId)).toEqual([mine.reservation.requestId])
    expect(await ledger.keySpending(own.accountId)).toMatchObject(
      [
        { key: own.key, spent: 5n, cap: null },
        { key: granted.key, spent: 3n, cap: 100n },
      ].toSorted((a, b) => (a.key < b.key ? -1 : 1)),
    )
  })

  test('of two rotations of one API key at once one succeeds, and an ended one can’t be rotated', async () => {
    const { ledger } = open()
    const apiKey = {
      keyId: hex(9),
      secretHash: hex(32),
      accountId: hex(32),
      key: hex(20),
      sealedPrivateKey: 'sealed',
      label: 'rotated',
      models: [],
      purposes: [],
      jurisdictions: [],
      createdAt: 1,
      endsAt: null,
      revoked: false,
    }
    await ledger.addApiKey(apiKey)
    const rotations = [hex(9), hex(9)].map((keyId) => ledger.replaceApiKey(apiKey.keyId, { ...apiKey, keyId }, 50))
    expect((await Promise.all(rotations)).toSorted()).toEqual([false, true])
    expect((await ledger.apiKeys(apiKey.accountId)).map(({ endsAt }) => endsAt).toSorted()).toEqual([50, null])
    expect(await ledger.replaceApiKey(apiKey.keyId, { ...apiKey, keyId: hex(9) }, 60)).toBe(false)
    expect(await ledger.resealKey(apiKey.keyId, { from: 'another', to: 'new' })).toBe(false)
    expect(await ledger.resealKey(apiKey.keyId, { from: 'sealed', to: 'new' })).toBe(true)
    const page = await ledger.sealedKeys({ after: '', limit: 1 })
    expect(page).toHaveLength(1)
    expect((await ledger.apiKey(apiKey.keyId))?.sealedPrivateKey).toBe('new')
  })

  test('old answers are forgotten in bounded steps, the requests stay charged and known', async () => {
    const { ledger } = open()
    await ledger.forgetAnswers({ reservedBefore: 1_000_000, limit: 1000 })
    const account = await fund(ledger, newAccount(), { deposit: 100n, ceiling: 100n })
    const requestIds = []
    for (const now of [10, 20, 30, 40]) {
      const reservation = order(account, { max: 1n, idempotencyKey: `at ${now}` })
      expect(await ledger.reserve(reservation, now)).toEqual({ ok: true })
      await ledger.commit({ ...deliver(reservation, { charged: 1n }), sealAnswer: () => toUtf8Bytes(`sealed ${now}`) })
      requestIds.push(reservation.requestId)
    }
    expect(await ledger.answersNotUnder(toUtf8Bytes('other'))).toEqual({ count: 4, lastReservedAt: 40 })
    expect(await ledger.answersNotUnder(toUtf8Bytes('sealed'))).toEqual({ count: 0, lastReservedAt: null })
    expect(await ledger.forgetAnswers({ reservedBefore: 40, limit: 2 })).toBe(2)
    expect(await ledger.forgetAnswers({ reservedBefore: 40, limit: 2 })).toBe(1)
    expect(await ledger.forgetAnswers({ reservedBefore: 40, limit: 2 })).toBe(0)
    const left = await Promise.all(requestIds.map((requestId) => ledger.request(requestId)))
    expect(left.map((request) => request?.answer !== null)).toEqual([false, false, false, true])
    const repeat = order(account, { max: 1n, idempotencyKey: 'at 10', bodyHash: left[0]?.bodyHash ?? '' })
    expect(await ledger.reserve(repeat, 50)).toMatchObject({ reason: 'repeated', request: { state: 'COMMITTED', answer: null } })
  })
}
