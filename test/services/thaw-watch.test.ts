import { Wallet } from 'ethers'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { SettlementLedger } from '../../services/core/settlement-ledger.ts'
import { Granary, type Meter } from '../../services/sdk/index.ts'
import { openTicker, type SettlerOptions, type Tick } from '../../services/settler/batches.ts'
import { devChainMissing } from '../adapters/support/dev-chain.ts'
import { eagerSettler, randomId } from './support/marketplace.ts'
import { type Operator, openOperator, PRICE } from './support/operator.ts'

const missing = devChainMissing()
const DEPOSIT = 100n * PRICE
const THAW_SECONDS = 7200
/** Gas at this price for the chain's coin costs more than any batch here earns. */
const DEAR = 10n ** 12n

/** What a payer takes out can't pay any more from the block on in which the thaw starts, and what is owed is fetched in time. */
describe.skipIf(missing !== null)(`a thaw${missing ? ` (skipped: ${missing})` : ''}`, () => {
  const stack = new AsyncDisposableStack()
  let operator: Operator
  let gatewayUrl: string
  let granary: Granary
  let meter: Meter
  let accountId: string

  beforeAll(async () => {
    operator = stack.use(await openOperator())
    gatewayUrl = (await operator.gateway()).url
  }, 120_000)
  afterAll(() => stack.disposeAsync(), 60_000)

  beforeEach(async () => {
    const wallet = new Wallet(randomId())
    granary = await Granary.open({ gatewayUrl, rpcUrl: operator.market.node.rpcUrl, wallet })
    await operator.market.payer.submit({ contract: 'Token', method: 'mint', args: [wallet.address, DEPOSIT] })
    accountId = (await granary.account.deposit(DEPOSIT)).accountId
    await operator.indexed()
    meter = await granary.account.meter({ maxPerRequest: PRICE })
  })

  const buy = (words = 'hello') => meter.infer(operator.body(words))
  const buyMany = (count: number) => Promise.all(Array.from({ length: count }, (_, index) => buy(`text ${index}`)))
  const balance = () =>
    operator.market.payer.read({ contract: 'InferenceEscrow', method: 'balance', args: [accountId] }) as Promise<
      Record<'deposit' | 'charged' | 'thawing', bigint>
    >
  const states = async () => (await operator.ledger.statement(accountId, { limit: 100 })).map(({ state }) => state)

  /** A settler that waits for more than it can ever get, and pays too much for its gas. */
  const patient = (more: Partial<SettlerOptions> = {}) =>
    openTicker({
      ...eagerSettler(operator.market, operator.ledger as SettlementLedger & typeof operator.ledger),
      maxAgeSeconds: 3600,
      minGross: 10n ** 12n,
      coinPrice: DEAR,
      ...more,
    })
  async function settle(tick: () => Promise<Tick>): Promise<Tick[]> {
    const ticks: Tick[] = []
    for (let round = 0; round < 60; round++) {
      ticks.push(await tick())
      if (ticks.at(-1) === 'settled' || ticks.at(-1) === 'idle') return ticks
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    throw new Error(`not settled: ${ticks}`)
  }

  it('is gone for new requests as soon as its block is seen, and counts again once it is cancelled', async () => {
    await buyMany(5)
    const funds = granary.account.funds()
    await funds.startThaw(DEPOSIT - 7n * PRICE)
    await operator.indexed()
    await buyMany(2)
    await expect(buy()).rejects.toMatchObject({
      code: 'payment.insufficient',
      evidence: { limit: 'deposit', available: '0', required: PRICE.toString() },
    })
    await funds.cancelThaw()
    await operator.indexed()
    expect(await buy()).toMatchObject({ charged: PRICE.toString() })
  })

  it('counts as gone after its end too, until it is withdrawn', async () => {
    await granary.account.funds().startThaw(DEPOSIT)
    await operator.passTime(THAW_SECONDS + 60)
    await expect(buy()).rejects.toMatchObject({ code: 'payment.insufficient', evidence: { limit: 'deposit' } })
  })

  it('ends nothing that was promised before: what runs when it starts is delivered, charged and settled', async () => {
    const gate = operator.closeGate()
    const running = buyMany(20)
    await expect.poll(gate.jobs, { timeout: 20_000 }).toBe(20)
    await granary.account.funds().startThaw(DEPOSIT)
    await operator.indexed()
    gate.open()
    expect(await running).toHaveLength(20)
    expect((await settle(patient())).at(-1)).toBe('settled')
    expect(await balance()).toMatchObject({ charged: 20n * PRICE, thawing: DEPOSIT })
  })

  it('makes the settler settle what is at risk before the end, at a loss, and leaves alone what is not', async () => {
    await buyMany(10)
    const tick = patient()
    expect(await tick()).toBe('idle')
    await granary.account.funds().startThaw(DEPOSIT - 10n * PRICE)
    await operator.indexed()
    expect(await tick()).toBe('idle')
    await granary.account.funds().startThaw(DEPOSIT - 9n * PRICE, { restart: true })
    await operator.indexed()
    expect((await settle(tick)).at(-1)).toBe('settled')
    expect(await balance()).toMatchObject({ charged: 10n * PRICE })
    expect(await states()).toEqual(Array.from({ length: 10 }, () => 'FINAL'))

    await operator.passTime(THAW_SECONDS)
    expect(await granary.account.funds().withdraw()).toMatchObject({ amount: DEPOSIT - 10n * PRICE })
    expect(await balance()).toMatchObject({ deposit: 10n * PRICE, charged: 10n * PRICE, thawing: 0n })
  })

  it('that nobody settled before lets the payer out: what is owed is voided with its reason, and books and chain agree', async () => {
    await buyMany(4)
    await granary.account.funds().startThaw(DEPOSIT)
    await operator.passTime(THAW_SECONDS)
    expect(await granary.account.funds().withdraw()).toMatchObject({ amount: DEPOSIT })
    await operator.indexed()
    await settle(patient())
    const lines = await operator.ledger.statement(accountId, { limit: 100 })
    const reasons = await Promise.all(lines.map(async ({ requestId }) => (await operator.ledger.request(requestId))?.reason))
    expect(lines.map(({ state }) => state)).toEqual(lines.map(() => 'VOIDED'))
    expect(new Set(reasons)).toEqual(new Set(['Expired']))
    expect(await balance()).toMatchObject({ deposit: 0n, charged: 0n })
  })

  it('earns those who served: provider and collector claim their credit by signature, to any address', async () => {
    await buyMany(10)
    await settle(patient({ maxAgeSeconds: 0, minGross: 1n, coinPrice: 0n }))
    const wallet = new Wallet(operator.market.node.wallets[3]?.privateKey ?? '')
    const provider = await Granary.open({ gatewayUrl, rpcUrl: operator.market.node.rpcUrl, wallet })
    const funds = provider.account.funds()
    const credit = await funds.credit()
    expect(credit).toBeGreaterThan(0n)
    const to = Wallet.createRandom().address.toLowerCase()
    expect(await funds.claimCredit({ to })).toMatchObject({ amount: credit, to })
    expect(await operator.market.payer.read({ contract: 'Token', method: 'balanceOf', args: [to] })).toBe(credit)
    await expect(funds.claimCredit({ to })).rejects.toMatchObject({ code: 'credit.none' })
    expect(await funds.credit()).toBe(0n)
  })
})
