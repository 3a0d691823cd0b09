import { Wallet } from 'ethers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { InferAnswer } from '../../services/core/api.ts'
import { Granary } from '../../services/sdk/index.ts'
import { devChainMissing } from '../adapters/support/dev-chain.ts'
import { bearer } from '../edges/support/scene.ts'
import { draftSession, escrowOf, openedSession, sessionRequest, signVoucher, voucherHeader } from '../edges/support/session.ts'
import { openWire, type Reply } from '../edges/support/wire.ts'
import { randomId } from './support/marketplace.ts'
import { type GatewayProcess, type Operator, openOperator, PRICE } from './support/operator.ts'

const missing = devChainMissing()
const PLACES = 60
const ASKED = 100

/** Two gateways of one operator as the processes that they are, side by side on one PostgreSQL and one chain. */
describe.skipIf(missing !== null)(`two gateway processes${missing ? ` (skipped: ${missing})` : ''}`, () => {
  const stack = new AsyncDisposableStack()
  let operator: Operator
  let gateways: [GatewayProcess, GatewayProcess]

  beforeAll(async () => {
    operator = stack.use(await openOperator())
    gateways = [await operator.gateway(), await operator.gateway()]
  }, 120_000)
  afterAll(() => stack.disposeAsync(), 60_000)

  const rpcUrl = () => operator.market.node.rpcUrl

  /** Somebody with a deposit, who speaks to either gateway. */
  async function customer(deposit: bigint) {
    const wallet = new Wallet(randomId())
    const [first, second] = await Promise.all(
      gateways.map(({ url }) => Granary.open({ gatewayUrl: url, rpcUrl: rpcUrl(), wallet })),
    )
    if (!first || !second) throw new Error('unreachable')
    await operator.market.payer.submit({ contract: 'Token', method: 'mint', args: [wallet.address, deposit] })
    const { accountId } = await first.account.deposit(deposit)
    await operator.indexed()
    return { wallet, first, second, accountId }
  }

  /** Opened at the first gateway; requests of it go to any. */
  async function sessionOf({ wallet, first }: Awaited<ReturnType<typeof customer>>) {
    const { facts, now } = first.context
    const drafted = await draftSession(facts, {
      account: await first.account.config(),
      signer: wallet,
      expiresAt: (await now()) + 3600,
    })
    const opened = await openWire(gateways[0].url)({ path: '/v1/sessions', body: drafted.body })
    expect(opened.status).toBe(200)
    return { facts, session: openedSession(facts, drafted, String(opened.json.sessionId)) }
  }

  const wires = () => gateways.map(({ url }) => openWire(url)) as [ReturnType<typeof openWire>, ReturnType<typeof openWire>]
  const heads = (replies: readonly Reply[]) =>
    replies
      .filter(({ status }) => status === 200)
      .map(({ json }) => (json as unknown as InferAnswer).receipt)
      .toSorted((a, b) => Number(a.sequence) - Number(b.sequence))

  it(`sell ${PLACES} places to ${ASKED} requests by MAC and API key at once, and no more`, async () => {
    const payer = await customer(1000n * PRICE)
    const { facts, session } = await sessionOf(payer)
    const ceiling = BigInt(PLACES / 2) * PRICE
    const { apiKey } = await payer.first.account.createApiKey({ cap: ceiling, lifeSeconds: 3600, label: 'both' })
    await operator.indexed()
    const voucher = voucherHeader(
      await signVoucher({ signer: payer.wallet, escrow: escrowOf(facts), accountId: payer.accountId, ceiling }),
    )
    const send = wires()
    const buy = (index: number) => {
      const body = operator.body(`text ${index}`)
      const headers = index % 4 < 2 ? bearer(apiKey) : sessionRequest(session, { body, voucher })
      return (index % 2 === 0 ? send[0] : send[1])({ body, headers })
    }
    const replies = await Promise.all(Array.from({ length: ASKED }, (_, index) => buy(index)))
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([200, 402]))
    expect(replies.filter(({ status }) => status === 200)).toHaveLength(PLACES)
    const receipts = heads(replies)
    expect(receipts.map(({ sequence }) => Number(sequence))).toEqual(receipts.map((_, index) => index + 1))
    expect(receipts.slice(1).map(({ previousHead }) => previousHead)).toEqual(receipts.slice(0, -1).map(({ head }) => head))
    const standing = await operator.ledger.standing(payer.accountId, session.key)
    expect(standing).toMatchObject({ spent: ceiling, ceiling, accountCharged: 2n * ceiling, accountReserved: 0n })
  }, 60_000)

  it('take a session that the other opened, at once and with its MAC only', async () => {
    const payer = await customer(10n * PRICE)
    const { facts, session } = await sessionOf(payer)
    const body = operator.body('elsewhere')
    const draft = { signer: payer.wallet, escrow: escrowOf(facts), accountId: payer.accountId, ceiling: PRICE }
    const headers = sessionRequest(session, { body, voucher: voucherHeader(await signVoucher(draft)) })
    const [, second] = wires()
    expect((await second({ body: operator.body('another body'), headers })).status).toBe(401)
    expect((await second({ body, headers })).status).toBe(200)
  })

  it('take an offer of an API key that the other made, once, and give who lost the answer the same key', async () => {
    const { wallet, first, second, accountId } = await customer(10n * PRICE)
    const [one, other] = wires()
    const { key, offer } = (await one({ path: '/v1/keys/offer', body: {} })).json as { key: string; offer: string }
    const account = await first.account.config()
    const grant = { accountId, key, cap: 1000n, notAfter: (await second.context.now()) + 3600, nonce: 1 }
    const signature = await second.context.sign('InferenceEscrow', 'GrantKey', grant)
    const rest = { cap: '1000', label: 'l', models: [], purposes: [], signature, notAfter: grant.notAfter, nonce: 1 }
    const body = { account, key, offer, ...rest }
    const made = await other({ path: '/v1/keys', body })
    expect(made).toMatchObject({ status: 200, json: { key, accountId } })
    const again = await one({ path: '/v1/keys', body })
    expect(again).toMatchObject({ status: 200, json: made.json })
    expect(await operator.ledger.apiKeys(accountId)).toHaveLength(1)
    await operator.indexed()
    const bought = await one({ body: operator.body('x'), headers: bearer(String(made.json.apiKey)) })
    expect(bought.status).toBe(200)

    const changed = `${offer.slice(0, -2)}${offer.at(-2) === 'A' ? 'B' : 'A'}${offer.at(-1)}`
    for (const wrong of [{ offer: changed }, { key: wallet.address }])
      expect(await other({ path: '/v1/keys', body: { ...body, ...wrong } })).toMatchObject({ status: 401 })
  })

  it('keep apart by their names: a second one of the same name does not start', async () => {
    const started = operator.gateway({ GRANARY_GATEWAY_NAME: `127.0.0.1:${gateways[0].port}` })
    await expect(started).rejects.toThrow('start.already-running')
  }, 60_000)

  it('go on when one is killed: what it had reserved ends by its state, and nobody is charged twice or for nothing', async () => {
    const doomed = await operator.gateway({ GRANARY_JOB_TIMEOUT_MS: '2000' })
    const { first, accountId } = await customer(BigInt(PLACES) * PRICE)
    const { apiKey } = await first.account.createApiKey({ cap: 1000n * PRICE, lifeSeconds: 3600, label: 'kill' })
    await operator.indexed()
    const [survivor] = wires()
    const headers = (index: number) => ({ ...bearer(apiKey), 'idempotency-key': `kill-${index}` })
    const gate = operator.closeGate()
    const lost = Array.from({ length: 20 }, (_, index) =>
      openWire(doomed.url)({ body: operator.body(`text ${index}`), headers: headers(index) }).catch(() => null),
    )
    await expect.poll(gate.jobs, { timeout: 20_000 }).toBe(20)
    await doomed.kill()
    gate.open()
    expect(await Promise.all(lost)).toEqual(lost.map(() => null))

    // What it had leased is free for others at once, what it had reserved by itself once it can't run any more.
    const others = Array.from({ length: 50 }, (_, index) =>
      survivor({ body: operator.body(`more ${index}`), headers: headers(100 + index) }),
    )
    const statuses = (await Promise.all(others)).map(({ status }) => status)
    const sold = statuses.filter((status) => status === 200).length
    expect(sold).toBeGreaterThanOrEqual(PLACES - 20)
    expect(statuses.filter((status) => status !== 200)).toEqual(Array.from({ length: 50 - sold }, () => 402))

    await operator.passTime(120)
    const reserved = async () =>
      (await operator.ledger.standing(accountId, apiKeyOf(await operator.ledger.apiKeys(accountId))))?.reserved
    await expect.poll(reserved, { timeout: 30_000 }).toBe(0n)
    const repeated = await Promise.all(
      Array.from({ length: 20 }, (_, index) => survivor({ body: operator.body(`text ${index}`), headers: headers(index) })),
    )
    expect(repeated.filter(({ status }) => status === 200)).toHaveLength(PLACES - sold)
    const lines = await operator.ledger.statement(accountId, { limit: 200 })
    expect(lines).toHaveLength(PLACES)
    expect(lines.reduce((sum, { charged }) => sum + charged, 0n)).toBe(BigInt(PLACES) * PRICE)
    expect((await survivor({ body: operator.body('one too many'), headers: headers(999) })).status).toBe(402)
  }, 120_000)
})

function apiKeyOf(keys: readonly { key: string }[]): string {
  return keys[0]?.key ?? ''
}
