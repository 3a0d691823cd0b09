import { toUtf8Bytes } from 'ethers'
import { expect, test } from 'vitest'
import { chargeOnce, deliver, fund, hex, newAccount, type OpenLedger, order } from './ledger-acts.ts'

/** What becomes of a reservation: charged once, or not at all. */
export function ledgerCommitting(open: () => OpenLedger): void {
  test('one idempotency key is reserved once, answered again, and free after a release', async () => {
    const { ledger } = open()
    const account = await fund(ledger, newAccount(), { deposit: 100n, ceiling: 100n })
    const orders = Array.from({ length: 20 }, () => order(account, { max: 5n, idempotencyKey: 'same', bodyHash: '0xaa' }))
    const answers = await Promise.all(orders.map((one) => ledger.reserve(one, 1000)))
    expect(answers.filter(({ ok }) => ok)).toHaveLength(1)
    const winner = orders[answers.findIndex(({ ok }) => ok)] ?? order(account)
    expect(answers.filter((answer) => !answer.ok && answer.reason === 'repeated')).toHaveLength(19)
    expect(await ledger.reserve(order(account, { idempotencyKey: 'same', bodyHash: '0xbb' }), 1000)).toEqual({
      ok: false,
      reason: 'conflict',
      requestId: winner.requestId,
    })
    await ledger.release(winner.requestId, 'provider.failed')
    await ledger.release(winner.requestId, 'again')
    expect(await ledger.request(winner.requestId)).toMatchObject({ state: 'RELEASED', reason: 'provider.failed' })
    expect(await ledger.reserve(winner, 1001)).toEqual({ ok: true })
    await ledger.release(winner.requestId, 'deadline.exceeded')
    const retry = order(account, { max: 5n, idempotencyKey: 'same', bodyHash: '0xaa' })
    expect(await ledger.reserve(retry, 1002)).toEqual({ ok: true })
    const sealed = Uint8Array.of(1, 2, 3)
    const { answer } = await ledger.commit({ ...deliver(retry, { charged: 5n }), sealAnswer: () => sealed })
    expect(answer).toEqual(toUtf8Bytes('answer 1'))
    expect(await ledger.reserve(winner, 1003)).toMatchObject({
      reason: 'repeated',
      request: { requestId: retry.requestId, state: 'COMMITTED', charged: 5n, answer: sealed },
    })
    expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ spent: 5n, reserved: 0n })
  })

  test('parallel commits chain their receipts without a gap, and a repeat changes nothing', async () => {
    const { ledger } = open()
    const account = await fund(ledger, newAccount(), { deposit: 1000n, ceiling: 1000n })
    const deliveries = await Promise.all(Array.from({ length: 20 }, () => chargeOnce(ledger, account, { charged: 7n })))
    const lines = (await ledger.statement(account.accountId, { limit: 100 })).toReversed()
    expect(lines.map(({ sequence }) => sequence)).toEqual(lines.map((_, i) => BigInt(i) + 1n))
    const inOrder = deliveries.toSorted((a, b) => Number(a.committed.sequence - b.committed.sequence))
    expect(inOrder.slice(1).map(({ committed }) => committed.previousHead)).toEqual(
      inOrder.slice(0, -1).map(({ committed }) => committed.head),
    )
    for (const { delivery, committed } of deliveries) expect(await ledger.commit(delivery)).toEqual(committed)
    expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ spent: 140n, accountCharged: 140n })
    expect((await ledger.statement(account.accountId, { limit: 5, before: 11n })).map(({ sequence }) => sequence)).toEqual([
      10n,
      9n,
      8n,
      7n,
      6n,
    ])
    expect(await open().book.sumsOfRequests()).toEqual([])
  })

  test('refuses a second receipt for a request, a charge above the reservation, and a commit after the release', async () => {
    const { ledger } = open()
    const account = await fund(ledger, newAccount(), { deposit: 1000n, ceiling: 1000n })
    const { delivery, reservation } = await chargeOnce(ledger, account, { charged: 7n })
    const other = { ...delivery, receipt: { ...delivery.receipt, units: 99n } }
    await expect(ledger.commit(other)).rejects.toMatchObject({ code: 'internal' })
    const dear = order(account, { max: 5n })
    await ledger.reserve(dear, 1000)
    await expect(ledger.commit(deliver(dear, { charged: 6n }))).rejects.toMatchObject({ code: 'internal' })
    await ledger.release(dear.requestId, 'gone')
    await expect(ledger.commit(deliver(dear, { charged: 5n }))).rejects.toMatchObject({ code: 'internal' })
    await ledger.release(reservation.requestId, 'too late')
    expect(await ledger.request(reservation.requestId)).toMatchObject({ state: 'COMMITTED', charged: 7n })
    expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ spent: 7n, reserved: 0n })
  })

  test('a request ends once when commit and release race', async () => {
    const { ledger } = open()
    const account = await fund(ledger, newAccount(), { deposit: 1000n, ceiling: 1000n })
    const reservations = Array.from({ length: 20 }, () => order(account, { max: 3n }))
    for (const one of reservations) await ledger.reserve(one, 1000)
    const ends = await Promise.all(
      reservations.map(async (one) => {
        const [committed] = await Promise.allSettled([
          ledger.commit(deliver(one, { charged: 3n })),
          ledger.release(one.requestId, 'late'),
        ])
        const stored = await ledger.request(one.requestId)
        expect(stored?.state).toBe(committed.status === 'fulfilled' ? 'COMMITTED' : 'RELEASED')
        return stored?.charged ?? 0n
      }),
    )
    const spent = ends.reduce((sum, charged) => sum + charged, 0n)
    expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ spent, reserved: 0n })
  })

  test('what a dead gateway left is released, and only that', async () => {
    const { ledger } = open()
    const account = await fund(ledger, newAccount(), { deposit: 1000n, ceiling: 1000n })
    const owner = `gateway-${hex(4)}`
    const orders = Array.from({ length: 3 }, () => order(account, { max: 3n, owner }))
    for (const one of orders) await ledger.reserve(one, 1000)
    await ledger.dispatched(orders[0]?.requestId ?? '', hex(20))
    if (orders[1]) await ledger.commit(deliver(orders[1], { charged: 2n }))
    await ledger.reserve(order(account, { max: 4n, owner: 'another' }), 1000)
    expect(await ledger.releaseLeftovers(owner)).toBe(2)
    expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ spent: 2n, reserved: 4n })
  })
}
