import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Ledger } from '../../../services/core/ports.ts'
import type { RequestState, Reservation } from '../../../services/core/selling-ledger.ts'
import type { BatchDraft } from '../../../services/core/settlement-ledger.ts'
import { closeAs, deliver, fund, hex, newAccount, type OpenLedger, order, type TestAccount } from './ledger-acts.ts'

/** The ledger beside the plainest description of it: lists and sums, one account with its own key and a granted one. */
interface ModelRequest {
  reservation: Reservation
  state: RequestState
  charged: bigint
}

interface ModelKey {
  account: TestAccount
  ceiling: bigint
  cap: bigint | null
}

class Model {
  readonly keys: [ModelKey, ModelKey]
  requests: ModelRequest[] = []
  deposit = 0n
  thawing = 0n

  constructor() {
    const own = newAccount()
    this.keys = [
      { account: own, ceiling: 0n, cap: null },
      { account: { ...own, key: hex(20) }, ceiling: 0n, cap: 7n },
    ]
  }

  sum(states: RequestState[], key?: string): bigint {
    const chosen = this.requests.filter((one) => states.includes(one.state) && (key === undefined || one.reservation.key === key))
    const isOpen = (state: RequestState) => state === 'RESERVED' || state === 'DISPATCHED'
    return chosen.reduce((sum, { state, reservation, charged }) => sum + (isOpen(state) ? reservation.max : charged), 0n)
  }

  reserve(reservation: Reservation): string {
    const live = this.requests.find(
      (one) => one.reservation.idempotencyKey === reservation.idempotencyKey && one.state !== 'RELEASED',
    )
    if (live) return live.reservation.bodyHash === reservation.bodyHash ? 'repeated' : 'conflict'
    if (this.deposit === 0n) return 'account-unknown'
    const short = this.shortFor(reservation.key, reservation.max)
    if (short === null) this.requests.push({ reservation, state: 'RESERVED', charged: 0n })
    return short ?? 'ok'
  }

  extend({ reservation }: ModelRequest, max: bigint): string {
    const more = max - reservation.max
    const short = more <= 0n ? null : this.shortFor(reservation.key, more)
    if (short === null && more > 0n) reservation.max = max
    return short ?? 'ok'
  }

  shortFor(ofKey: string, more: bigint): string | null {
    const key = this.keys.find(({ account }) => account.key === ofKey)
    const used: RequestState[] = ['RESERVED', 'DISPATCHED', 'COMMITTED', 'BATCHED', 'FINAL']
    if (this.sum(used) + more > this.deposit - this.thawing) return 'deposit'
    if (key?.cap && this.sum(used, ofKey) + more > key.cap) return 'cap'
    return this.sum(used, ofKey) + more > (key?.ceiling ?? 0n) ? 'ceiling' : null
  }
}

type Act =
  | { act: 'fund'; deposit: bigint; thawing: bigint }
  | { act: 'sign'; key: 0 | 1; ceiling: bigint }
  | { act: 'reserve'; key: 0 | 1; max: bigint; idempotencyKey: number; body: number; leased: boolean }
  | { act: 'commit' | 'release' | 'extend'; pick: number; charged: bigint }
  | { act: 'settle'; drop: boolean }

/** Small, so that limits are met to the unit. */
const amount = fc.bigInt(0n, 16n)
const whichKey = fc.constantFrom<0 | 1>(0, 1)
const acts: fc.Arbitrary<Act> = fc.oneof(
  { weight: 1, arbitrary: fc.record({ act: fc.constant('fund' as const), deposit: amount, thawing: fc.bigInt(0n, 3n) }) },
  { weight: 1, arbitrary: fc.record({ act: fc.constant('sign' as const), key: whichKey, ceiling: amount }) },
  {
    weight: 5,
    arbitrary: fc.record({
      act: fc.constant('reserve' as const),
      key: whichKey,
      max: fc.bigInt(0n, 4n),
      idempotencyKey: fc.nat(30),
      body: fc.nat(1),
      leased: fc.boolean(),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      act: fc.constantFrom('commit' as const, 'release' as const, 'extend' as const),
      pick: fc.nat(),
      charged: fc.bigInt(0n, 8n),
    }),
  },
  { weight: 2, arbitrary: fc.record({ act: fc.constant('settle' as const), drop: fc.boolean() }) },
)

export function ledgerHistories(open: () => OpenLedger): void {
  test('any history ends as the model says: never above a limit, every charge once, entries at zero', async () => {
    const { ledger, book } = open()
    await fc.assert(
      fc.asyncProperty(fc.array(acts, { minLength: 10, maxLength: 40 }), async (history) => {
        const model = new Model()
        await mirror(ledger, model)
        for (const key of model.keys) await sign(ledger, key, 6n)
        for (const act of [{ act: 'fund', deposit: 12n, thawing: 0n } as const, ...history]) {
          await play(ledger, model, act)
          await compare(ledger, model)
        }
        for (let round = 0; round < 3; round += 1) await play(ledger, model, { act: 'settle', drop: false })
        await compare(ledger, model)
        expect(model.sum(['BATCHED'])).toBe(0n)
        expect(await book.balance(`account:${model.keys[0].account.accountId}`)).toBe(-model.sum(['COMMITTED', 'FINAL']))
      }),
      { numRuns: 15, timeout: 60_000, interruptAfterTimeLimit: 45_000 },
    )
    expect(await book.sumsOfRequests()).toEqual([])
    expect(await book.sumsOfBatches()).toEqual([])
  })
}

async function play(ledger: Ledger, model: Model, act: Act): Promise<void> {
  switch (act.act) {
    case 'fund': {
      // A withdrawal takes at most what is not charged on chain.
      const charged = model.sum(['FINAL'])
      model.deposit = act.deposit > charged ? act.deposit : charged
      model.thawing = act.thawing > model.deposit - charged ? model.deposit - charged : act.thawing
      return mirror(ledger, model)
    }
    case 'sign':
      return sign(ledger, model.keys[act.key], act.ceiling)
    case 'reserve': {
      const { account } = model.keys[act.key]
      const reservation = order(account, {
        max: act.max,
        idempotencyKey: `${act.idempotencyKey}`,
        bodyHash: `0x0${act.body}`,
        modelId: MODEL,
        leased: act.leased,
      })
      const earlier = model.requests.find((one) => one.reservation.idempotencyKey === reservation.idempotencyKey)
      const body = earlier?.state === 'RELEASED' ? earlier.reservation.bodyHash : reservation.bodyHash
      const asked = { ...reservation, bodyHash: body }
      const answer = await ledger.reserve(asked, 1000)
      expect(answer.ok ? 'ok' : answer.reason === 'insufficient' ? answer.limit : answer.reason).toBe(model.reserve(asked))
      return
    }
    case 'settle':
      return settle(ledger, model, act)
    default:
      return end(ledger, model, act)
  }
}

const MODEL = `0x${'33'.repeat(32)}`

async function end(
  ledger: Ledger,
  model: Model,
  { act, pick, charged }: { act: 'commit' | 'release' | 'extend'; pick: number; charged: bigint },
): Promise<void> {
  const running = model.requests.filter(
    ({ state, reservation }) => state === 'RESERVED' && !(act === 'extend' && reservation.leased),
  )
  const request = running[pick % running.length]
  if (!request) return
  const { reservation } = request
  if (act === 'extend') {
    const answer = await ledger.extend({ requestId: reservation.requestId, max: charged }, 1000)
    const short = answer.ok ? 'ok' : answer.reason === 'insufficient' ? answer.limit : answer.reason
    expect(short).toBe(model.extend(request, charged))
    return
  }
  if (act === 'release') {
    await ledger.release(reservation.requestId, 'test')
    request.state = 'RELEASED'
    return
  }
  request.charged = charged < reservation.max ? charged : reservation.max
  request.state = 'COMMITTED'
  await ledger.commit(deliver(reservation, { charged: request.charged }))
}

/** Plays the chain too: it applies a row or refuses it for want of funds, and finds no other fault in a draft. */
async function settle(ledger: Ledger, model: Model, { drop }: { drop: boolean }): Promise<void> {
  const { collector } = model.keys[0].account.config
  const draft = await ledger.draftBatch({
    batchId: hex(32),
    collector,
    minGross: 0n,
    servedBefore: 10_000,
    maxRows: 4,
    maxLanes: 4,
  })
  if (!draft) return
  expect(draft.leaves).toHaveLength(new Set(draft.rows.flatMap(({ requestIds }) => requestIds)).size)
  if (drop) return ledger.dropBatch(draft.batchId)
  const unfunded = rowsUnfunded(model, draft)
  const outcome = closeAs(draft, (row) => !unfunded.includes(row))
  await ledger.closeBatch({ ...outcome, skippedRows: unfunded.map((row) => ({ row, reason: 'Unfunded' })) })
  for (const [index, row] of draft.rows.entries()) {
    for (const request of model.requests) {
      if (row.requestIds.includes(request.reservation.requestId)) request.state = unfunded.includes(index) ? 'VOIDED' : 'FINAL'
    }
  }
  await mirror(ledger, model)
}

function rowsUnfunded(model: Model, draft: BatchDraft): number[] {
  let left = model.deposit - model.sum(['FINAL'])
  return draft.rows.flatMap((row, index) => {
    const key = model.keys.find(({ account }) => account.key === row.key)
    const total = row.parts.reduce((sum, part) => sum + part.amount, 0n)
    const requests = model.requests.filter(({ reservation }) => row.requestIds.includes(reservation.requestId))
    expect(requests.map(({ state }) => state)).toEqual(requests.map(() => 'COMMITTED'))
    expect(requests.reduce((sum, { charged }) => sum + charged, 0n)).toBe(total)
    expect(row.from).toBe(model.sum(['FINAL'], row.key))
    expect(row.from + total <= (key?.cap ?? row.voucher.ceiling) && row.from + total <= row.voucher.ceiling).toBe(true)
    if (total > left) return [index]
    left -= total
    return []
  })
}

async function compare(ledger: Ledger, model: Model): Promise<void> {
  for (const { account, ceiling, cap } of model.keys) {
    expect(await ledger.standing(account.accountId, account.key)).toMatchObject({
      spent: model.sum(['COMMITTED', 'BATCHED', 'FINAL'], account.key),
      reserved: model.sum(['RESERVED'], account.key),
      ceiling,
      cap,
      deposit: model.deposit,
      thawing: model.thawing,
      accountCharged: model.sum(['COMMITTED', 'BATCHED', 'FINAL']),
      accountReserved: model.sum(['RESERVED']),
    })
  }
}

async function sign(ledger: Ledger, key: ModelKey, ceiling: bigint): Promise<void> {
  const { accountId, key: signer } = key.account
  const { ok } = await ledger.acceptVoucher({ accountId, key: signer, ceiling, usageHead: hex(32), signature: hex(65) })
  expect(ok).toBe(ceiling > key.ceiling)
  if (ok) key.ceiling = ceiling
}

async function mirror(ledger: Ledger, model: Model): Promise<void> {
  const [, granted] = model.keys
  const chain = {
    deposit: model.deposit,
    thawing: model.thawing,
    charged: model.sum(['FINAL']),
    spent: model.sum(['FINAL'], granted.account.key),
  }
  await fund(ledger, granted.account, { ...chain, cap: granted.cap ?? 0n })
}
