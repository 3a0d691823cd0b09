import { expect, test } from 'vitest'
import { chargeOnce, draftAllOptions, fund, hex, newAccount, type OpenLedger, order } from './ledger-acts.ts'

/** The gateway before a job leaves: whose money, how much of it, and for how long. */
export function ledgerReserving(open: () => OpenLedger): void {
  test('of 100 parallel reserves on an account with room for 60 exactly 60 succeed', async () => {
    const { ledger } = open()
    const account = await fund(ledger, newAccount(), { deposit: 600n, ceiling: 10_000n })
    const answers = await Promise.all(Array.from({ length: 100 }, () => ledger.reserve(order(account, { max: 10n }), 1000)))
    expect(answers.filter(({ ok }) => ok)).toHaveLength(60)
    expect(answers.find(({ ok }) => !ok)).toMatchObject({
      reason: 'insufficient',
      limit: 'deposit',
      available: 0n,
      required: 10n,
    })
  })

  test('two ledgers on one database promise the same money once', async () => {
    const { ledger } = open()
    const account = await fund(ledger, newAccount(), { deposit: 10_000n, ceiling: 600n })
    await using other = await open().reopen()
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, i) => (i % 2 === 0 ? ledger : other).reserve(order(account, { max: 10n }), 1000)),
    )
    expect(answers.filter(({ ok }) => ok)).toHaveLength(60)
    expect(answers.find(({ ok }) => !ok)).toMatchObject({ limit: 'ceiling' })
  })

  test('a key spends up to its cap, another of the same account up to the deposit', async () => {
    const { ledger } = open()
    const account = await fund(ledger, newAccount(), { deposit: 100n, ceiling: 1000n })
    const granted = await fund(ledger, { ...account, key: hex(20) }, { deposit: 100n, ceiling: 1000n, cap: 30n })
    expect(await ledger.reserve(order(granted, { max: 31n }), 1000)).toMatchObject({ reason: 'insufficient', limit: 'cap' })
    expect(await ledger.reserve(order(granted, { max: 30n }), 1000)).toEqual({ ok: true })
    expect(await ledger.reserve(order(account, { max: 71n }), 1000)).toMatchObject({ limit: 'deposit', available: 70n })
    expect(await ledger.reserve(order(account, { max: 70n }), 1000)).toEqual({ ok: true })
    expect(await ledger.standing(account.accountId, granted.key)).toMatchObject({
      reserved: 30n,
      cap: 30n,
      accountReserved: 100n,
    })
  })

  test('thawing money counts as gone, an ended key and an unknown account get nothing', async () => {
    const { ledger } = open()
    const account = await fund(ledger, newAccount(), { deposit: 100n, thawing: 60n, ceiling: 1000n })
    expect(await ledger.reserve(order(account, { max: 41n }), 1000)).toMatchObject({ limit: 'deposit', available: 40n })
    const expired = await fund(ledger, { ...account, key: hex(20) }, { deposit: 100n, ceiling: 10n, cap: 10n, notAfter: 1000 })
    expect(await ledger.reserve(order(expired, { max: 1n }), 999)).toEqual({ ok: true })
    expect(await ledger.reserve(order(expired, { max: 1n }), 1000)).toEqual({ ok: false, reason: 'key-ended' })
    const revoked = await fund(ledger, { ...account, key: hex(20) }, { deposit: 100n, ceiling: 10n, cap: 10n, revokedAt: 5 })
    expect(await ledger.reserve(order(revoked, { max: 1n }), 999)).toEqual({ ok: false, reason: 'key-ended' })
    expect(await ledger.reserve(order({ ...account, key: hex(20) }, { max: 1n }), 999)).toEqual({
      ok: false,
      reason: 'key-ended',
    })
    expect(await ledger.reserve(order(newAccount(), { max: 1n }), 999)).toEqual({ ok: false, reason: 'account-unknown' })
  })

  test('what the chain says of an account before its configuration is known counts once it is', async () => {
    const { ledger } = open()
    const account = newAccount()
    const key = hex(20)
    const granted = { cap: '5', spent: '0', notAfter: 9999, revokedAt: 0, nonce: 1 }
    const amounts = { deposit: '9', charged: '0', ownSpent: '0', thawing: '0', thawEndsAt: 0 }
    await ledger.apply({
      head: await open().book.nextHead(),
      events: [],
      mirrors: [
        { kind: 'key', id: `${account.accountId}:${key}`, block: 1, state: granted },
        { kind: 'account', id: account.accountId, block: 1, state: amounts },
      ],
    })
    expect(await ledger.standing(account.accountId, key)).toBeNull()
    await ledger.knowAccount(account.accountId, account.config)
    await ledger.knowAccount(account.accountId, account.config)
    expect(await ledger.standing(account.accountId, key)).toMatchObject({ cap: 5n, deposit: 9n })
  })

  test('keeps the highest voucher and refuses one that goes backwards', async () => {
    const { ledger } = open()
    const account = await fund(ledger, newAccount(), { deposit: 100n, ceiling: 50n })
    const voucher = { accountId: account.accountId, key: account.key, usageHead: hex(32), signature: hex(65) }
    expect(await ledger.acceptVoucher({ ...voucher, ceiling: 50n })).toEqual({ ok: false, reason: 'backwards', ceiling: 50n })
    expect(await ledger.acceptVoucher({ ...voucher, ceiling: 2n ** 80n - 1n })).toEqual({ ok: true })
    expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ ceiling: 2n ** 80n - 1n })
    expect(await ledger.acceptVoucher({ ...voucher, accountId: hex(32), ceiling: 1n })).toEqual({
      ok: false,
      reason: 'account-unknown',
    })
  })

  test('the largest cap and ceiling that the chain knows are amounts like others', async () => {
    const { ledger } = open()
    const most = 2n ** 128n - 1n
    const account = await fund(ledger, { ...newAccount(), key: hex(20) }, { deposit: most, ceiling: most, cap: most })
    await chargeOnce(ledger, account, { charged: 2n ** 100n })
    expect(await ledger.standing(account.accountId, account.key)).toMatchObject({
      cap: most,
      ceiling: most,
      deposit: most,
      spent: 2n ** 100n,
    })
    expect(await ledger.draftBatch(draftAllOptions(account.config.collector))).toMatchObject({
      rows: [{ parts: [{ amount: 2n ** 100n }] }],
    })
  })

  test('another ledger on the same database sees the same state', async () => {
    const { ledger } = open()
    const account = await fund(ledger, newAccount(), { deposit: 100n, ceiling: 100n })
    const { reservation } = await chargeOnce(ledger, account, { charged: 3n })
    const before = [
      await ledger.standing(account.accountId, account.key),
      await ledger.request(reservation.requestId),
      await ledger.cursor(),
    ]
    await using other = await open().reopen()
    expect([
      await other.standing(account.accountId, account.key),
      await other.request(reservation.requestId),
      await other.cursor(),
    ]).toEqual(before)
    expect(await other.account(account.accountId)).toEqual(account.config)
  })
}
