import { toUtf8Bytes } from 'ethers'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { CommitRefused } from '../../../services/core/commit-refused.ts'
import type { Ledger } from '../../../services/core/ports.ts'
import type { CommittedTogether, Reservation, Reserved } from '../../../services/core/selling-ledger.ts'
import { deliver, fund, hex, newAccount, type OpenLedger, order, type TestAccount } from './ledger-acts.ts'

/** Many requests at once, from one gateway and from two of the same operator: what they share is the work, never the money. */
export function ledgerParallel(open: () => OpenLedger): void {
  test('a voucher that comes with a reservation counts for it, and is kept when the reservation is refused', async () => {
    const { ledger } = open()
    const account = await fund(ledger, newAccount(), { deposit: 100n })
    const voucher = { accountId: account.accountId, key: account.key, ceiling: 10n, usageHead: hex(32), signature: hex(65) }
    expect(await ledger.reserve(order(account, { max: 11n, voucher }), 1000)).toMatchObject({ limit: 'ceiling', available: 10n })
    expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ ceiling: 10n, reserved: 0n })
    const both = [6n, 12n].map((ceiling) => order(account, { max: 6n, voucher: { ...voucher, ceiling } }))
    expect(await Promise.all(both.map((one) => ledger.reserve(one, 1000)))).toEqual([{ ok: true }, { ok: true }])
    expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ ceiling: 12n, reserved: 12n })
  })

  test('a reservation may say that its job leaves at once', async () => {
    const { ledger } = open()
    const account = await fund(ledger, newAccount(), { deposit: 100n, ceiling: 100n })
    const [at, later] = [order(account, { dispatched: true }), order(account)]
    await Promise.all([at, later].map((one) => ledger.reserve(one, 1000)))
    expect(await ledger.request(at.requestId)).toMatchObject({ state: 'DISPATCHED' })
    expect(await ledger.request(later.requestId)).toMatchObject({ state: 'RESERVED' })
  })

  test('a request that no database can take fails alone among those that wait with it', async () => {
    const { ledger } = open()
    const account = await fund(ledger, newAccount(), { deposit: 100n, ceiling: 100n })
    const good = Array.from({ length: 20 }, () => order(account))
    const bad = order(account, { idempotencyKey: 'a\u0000b' })
    const reserved = await Promise.allSettled(
      [...good.slice(0, 10), bad, ...good.slice(10)].map((one) => ledger.reserve(one, 1000)),
    )
    expect(reserved.map(({ status }) => status === 'fulfilled')).toEqual(reserved.map((_, index) => index !== 10))
    const groups = new Map<string, readonly string[]>()
    const deliveries = good.map((one) => {
      const answerOf = ({ head, group }: CommittedTogether) => {
        groups.set(head, group)
        return toUtf8Bytes(head)
      }
      return { ...deliver(one, { charged: 1n }), answerOf }
    })
    const dear = { ...deliveries[7], charged: 9n } as (typeof deliveries)[number]
    const mute = { ...deliveries[8], answerOf: () => raise('no answer') } as (typeof deliveries)[number]
    const ends = await Promise.allSettled(
      deliveries.map((one, index) => ledger.commit(index === 7 ? dear : index === 8 ? mute : one)),
    )
    expect(ends.map(({ status }) => status === 'fulfilled')).toEqual(ends.map((_, index) => index !== 7 && index !== 8))
    const committed = ends.flatMap((end) => (end.status === 'fulfilled' ? [end.value] : []))
    const heads = new Set(committed.map(({ head }) => head))
    for (const { head, answer } of committed) {
      expect(answer).toEqual(toUtf8Bytes(head))
      const group = groups.get(head) ?? []
      expect(group.filter((one) => one === head)).toHaveLength(1)
      // Nothing is in it that was not committed, and all who are in it were handed the same list.
      for (const one of group) expect([heads.has(one), groups.get(one) === group]).toEqual([true, true])
    }
    expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ spent: 18n, reserved: 2n })
    expect((await ledger.statement(account.accountId, { limit: 100 })).map(({ sequence }) => sequence)).toEqual(
      Array.from({ length: 18 }, (_, index) => BigInt(18 - index)),
    )
  })

  test('two gateways serve the same accounts at once: every place is sold once, every receipt has its own place in one chain', async () => {
    const { ledger, reopen, book } = open()
    await using other = await reopen()
    const room = 30n
    const accounts = await Promise.all([1, 2, 3].map(() => newAccount()))
    for (const account of accounts) await fund(ledger, account, { deposit: room, ceiling: 1000n })
    const sell = async (at: Ledger, account: TestAccount) => {
      const asked = order(account, { dispatched: true })
      const reserved = await at.reserve(asked, 1000)
      return reserved.ok ? at.commit(deliver(asked, { charged: 1n })) : null
    }
    const sales = Array.from({ length: 150 }, (_, index) =>
      sell(index % 2 === 0 ? ledger : other, accounts[index % 3] as TestAccount),
    )
    const sold = (await Promise.all(sales)).filter((one) => one !== null)
    expect(sold).toHaveLength(3 * Number(room))
    for (const account of accounts) {
      const lines = (await ledger.statement(account.accountId, { limit: 100 })).toReversed()
      expect(lines.map(({ sequence }) => sequence)).toEqual(
        Array.from({ length: Number(room) }, (_, index) => BigInt(index) + 1n),
      )
      expect(await other.standing(account.accountId, account.key)).toMatchObject({
        spent: room,
        reserved: 0n,
        accountCharged: room,
      })
      expect(await book.balance(`account:${account.accountId}`)).toBe(-room)
    }
    const heads = new Map(sold.map(({ head, previousHead }) => [previousHead, head]))
    expect(new Set(heads.values()).size).toBe(sold.length - 2)
    expect(await book.sumsOfRequests()).toEqual([])
  })

  test('whatever arrives together is judged as if it had come one after the other', async () => {
    const { ledger, reopen } = open()
    await using other = await reopen()
    const request = fc.record({
      max: fc.bigInt(0n, 5n),
      key: fc.constantFrom(0, 1),
      idempotencyKey: fc.nat(12),
      at: fc.boolean(),
      leased: fc.boolean(),
    })
    const round = fc.array(request, { minLength: 1, maxLength: 24 })
    await fc.assert(
      fc.asyncProperty(fc.array(round, { minLength: 1, maxLength: 4 }), fc.bigInt(0n, 30n), async (rounds, ceiling) => {
        const own = await fund(ledger, newAccount(), { deposit: 25n, ceiling: ceiling + 1n })
        const keys = [own, await fund(ledger, { ...own, key: hex(20) }, { deposit: 25n, ceiling: 40n, cap: 9n })] as const
        for (const asked of rounds) await playTogether(asked, { ledgers: [ledger, other], keys, ceilings: [ceiling + 1n, 9n] })
      }),
      { numRuns: 15, interruptAfterTimeLimit: 45_000 },
    )
  })
}

interface Played {
  ledger: Ledger
  reservation: Reservation
  answer: Reserved
}

/** Reserves all at once at two ledgers, then ends some; no limit is passed, no id sold twice, and nothing that fits is refused at rest. */
async function playTogether(
  asked: readonly { max: bigint; key: number; idempotencyKey: number; at: boolean; leased: boolean }[],
  {
    ledgers,
    keys,
    ceilings,
  }: { ledgers: [Ledger, Ledger]; keys: readonly [TestAccount, TestAccount]; ceilings: [bigint, bigint] },
): Promise<void> {
  const played = await Promise.all(
    asked.map(async ({ max, key, idempotencyKey, at, leased }): Promise<Played> => {
      const ledger = ledgers[at ? 0 : 1]
      const reservation = order(keys[key] as TestAccount, { max, idempotencyKey: `${idempotencyKey}`, bodyHash: '0xaa', leased })
      return { ledger, reservation, answer: await ledger.reserve(reservation, 1000) }
    }),
  )
  const sold = played.filter(({ answer }) => answer.ok)
  // At one ledger nothing runs twice; two find out when they charge.
  const places = sold.map(({ ledger, reservation }) => `${ledgers.indexOf(ledger)} ${reservation.idempotencyKey}`)
  expect(new Set(places).size).toBe(sold.length)
  await expectWithinLimits()
  const ends = await Promise.all(
    sold.map(async ({ ledger, reservation }, index) => {
      const { requestId, max, idempotencyKey } = reservation
      const refused = index % 3 !== 0 && (await refusalOf(ledger.commit(deliver(reservation, { charged: max }))))
      if (refused !== null) await ledger.release(requestId, 'test')
      return { idempotencyKey, refused }
    }),
  )
  for (const { refused } of ends) expect([null, false, 'repeated']).toContain(refused)
  const charged = ends.filter(({ refused }) => refused === null)
  expect(new Set(charged.map(({ idempotencyKey }) => idempotencyKey)).size).toBe(charged.length)
  await expectWithinLimits()
  const standing = await ledgers[0].standing(keys[0].accountId, keys[0].key)
  expect(standing?.accountReserved).toBe(0n)

  async function expectWithinLimits(): Promise<void> {
    for (const [index, { accountId, key }] of keys.entries()) {
      // Each gives back what it leases and doesn't use.
      await ledgers[1].standing(accountId, key)
      const standing = await ledgers[0].standing(accountId, key)
      if (!standing) throw new Error('an account without a standing')
      expect(standing.spent + standing.reserved <= (ceilings[index] ?? 0n)).toBe(true)
      expect(standing.accountCharged + standing.accountReserved <= standing.deposit).toBe(true)
    }
  }
}

/** null: it was charged. */
async function refusalOf(commit: Promise<unknown>): Promise<string | null> {
  try {
    await commit
    return null
  } catch (error) {
    if (error instanceof CommitRefused) return error.refused.reason
    throw error
  }
}

function raise(what: string): never {
  throw new Error(what)
}
