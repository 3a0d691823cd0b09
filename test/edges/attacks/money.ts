import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { ContractFactory, Wallet } from 'ethers'
import { describe, expect, it } from 'vitest'
import type { SettlementLedger } from '../../../services/core/settlement-ledger.ts'
import { sendActs } from '../../../services/sdk/index.ts'
import { openTicker, type SettlerOptions, type Tick } from '../../../services/settler/batches.ts'
import { eagerSettler, randomId } from '../../services/support/marketplace.ts'
import { PRICE } from '../../services/support/operator.ts'
import { bearer } from '../support/scene.ts'
import { type OpenSession, sessionRequest, signVoucher, voucherHeader } from '../support/session.ts'
import { mint, paid, type Stand, sendEverywhere, statusesOf, visit } from '../support/stand.ts'
import { openWire } from '../support/wire.ts'

const THAW_SECONDS = 7200
const DEAR = 10n ** 12n

/** Money that is taken back, moved, or worth less than its handling. */
export function money(stand: () => Stand): void {
  const operator = () => stand().operator
  const market = () => operator().market
  const escrowAddress = () => market().payer.addresses.InferenceEscrow ?? ''
  const balance = (accountId: string) =>
    market().payer.read({ contract: 'InferenceEscrow', method: 'balance', args: [accountId] }) as Promise<
      Record<'deposit' | 'charged', bigint>
    >
  const settler = (more: Partial<SettlerOptions> = {}) =>
    openTicker({ ...eagerSettler(market(), operator().ledger as SettlementLedger & Stand['operator']['ledger']), ...more })
  async function settle(tick: () => Promise<Tick>): Promise<void> {
    for (let round = 0; round < 100; round++) {
      const result = await tick()
      if (result === 'idle') return
      await new Promise((resolve) => setTimeout(resolve, 30))
    }
    throw new Error('not settled')
  }
  const buy = async (visitor: Awaited<ReturnType<typeof visit>>, count: number, known?: OpenSession) => {
    const session = known ?? (await visitor.session())
    const { spent = 0n } = (await visitor.standing()) ?? {}
    const ceiling = spent + BigInt(count) * PRICE
    const all = await Promise.all(
      Array.from({ length: count }, () => paid(visitor, session, { body: operator().body(randomId()), ceiling })),
    )
    return sendEverywhere(stand(), count, (index) => all[index] ?? {})
  }

  describe('withdraw race', () => {
    it('is won by nobody: a withdrawal that lands before a settlement held back in the mempool leaves what it needs', async () => {
      await settle(settler())
      const visitor = await visit(stand(), 100n * PRICE)
      const funds = visitor.granary.account.funds()
      await funds.startThaw(97n * PRICE)
      await operator().passTime(THAW_SECONDS)
      expect(statusesOf(await buy(visitor, 5))).toEqual({ 200: 3, 402: 2 })

      const held: (() => Promise<void>)[] = []
      const { collector } = market()
      const slow = {
        ...collector,
        broadcast: async (...args: Parameters<typeof collector.broadcast>) => void held.push(() => collector.broadcast(...args)),
      }
      expect(await settler({ chain: slow })()).toBe('sent')
      expect(await funds.withdraw()).toMatchObject({ amount: 97n * PRICE })
      for (const release of held) await release()
      await settle(settler())
      expect(await balance(visitor.accountId)).toMatchObject({ deposit: 3n * PRICE, charged: 3n * PRICE })
      const states = (await operator().ledger.statement(visitor.accountId, { limit: 10 })).map(({ state }) => state)
      expect(states).toEqual(['FINAL', 'FINAL', 'FINAL'])
    })
  })

  describe('redeploy replay', () => {
    it('of what was signed for one escrow moves nothing in another of the same code, owner and chain', async () => {
      const visitor = await visit(stand(), 100n * PRICE)
      const { wallet, facts, config, accountId, granary } = visitor
      const address = await deployAgain(stand())
      expect(address).not.toBe(escrowAddress())
      const again = { chainId: BigInt(facts.chainId), address }
      const session = await visitor.session()
      const body = operator().body('elsewhere')
      const voucher = voucherHeader(await signVoucher({ signer: wallet, escrow: again, accountId, ceiling: PRICE }))
      const refused = await openWire(stand().gateways[0].url)({ body, headers: sessionRequest(session, { body, voucher }) })
      expect(refused).toMatchObject({ status: 402, json: { code: 'voucher.forged' } })

      await mint(operator(), wallet.address, 5n)
      const file = await granary.sign(async (one) => {
        await one.account.funds().startThaw(1n)
        await one.account.deposit(5n, config)
        await one.account.revokeKey(Wallet.createRandom().address)
      })
      const thief = market().node.wallets[0]
      if (!thief) throw new Error('unreachable')
      for (const act of file.acts) {
        const elsewhere = { ...file, contracts: { InferenceEscrow: address }, acts: [act] }
        const replayed = sendActs(elsewhere, { rpcUrl: market().node.rpcUrl, wallet: thief })
        await expect(replayed, act.method).rejects.toMatchObject({ code: 'chain.reverted' })
      }
      expect(await market().payer.read({ contract: 'Token', method: 'balanceOf', args: [address] })).toBe(0n)
    })
  })

  describe('front-running of a deposit', () => {
    it('puts the money where its owner signed it to go, once, whoever sends it first', async () => {
      const visitor = await visit(stand(), 0n)
      await mint(operator(), visitor.wallet.address, 50n * PRICE)
      const file = await visitor.granary.sign((one) => one.account.deposit(50n * PRICE))
      const thief = market().node.wallets[0]
      const [act] = file.acts
      if (!thief || !act) throw new Error('unreachable')
      const rpcUrl = market().node.rpcUrl
      const [account, ...rest] = act.args
      const own = { ...(account as object), payer: thief.address.toLowerCase() }
      for (const stolen of [own, { ...(account as object), salt: randomId() }]) {
        const redirected = { ...file, acts: [{ ...act, args: [stolen, ...rest] }] }
        await expect(sendActs(redirected, { rpcUrl, wallet: thief })).rejects.toMatchObject({
          code: expect.stringMatching(/^chain\./),
        })
      }
      await sendActs(file, { rpcUrl, wallet: thief })
      const late = await openWire(stand().gateways[0].url)({ path: '/v1/relay', body: act })
      expect(late).toMatchObject({ status: 400, json: { code: 'relay.refused' } })
      await operator().indexed()
      expect(await balance(visitor.accountId)).toMatchObject({ deposit: 50n * PRICE })
      expect(statusesOf(await buy(visitor, 3))).toEqual({ 200: 3 })
    })
  })

  describe('reorg of a deposit', () => {
    it('leaves no money to spend, voids what was bought on it with its reason, and books what the chain has', async () => {
      await settle(settler())
      const { number } = await market().payer.head()
      const visitor = await visit(stand(), 20n * PRICE)
      const session = await visitor.session()
      expect(statusesOf(await buy(visitor, 4, session))).toEqual({ 200: 4 })
      const now = await market().payer.head()
      await market().node.rpc('anvil_rollback', now.number - number)
      await expect.poll(async () => (await visitor.standing())?.deposit ?? 0n, { timeout: 20_000 }).toBe(0n)
      // Until both gateways have seen a block of the new branch, they serve nothing at all.
      await expect.poll(async () => statusesOf(await buy(visitor, 2, session)), { timeout: 20_000 }).toEqual({ 402: 2 })
      expect(await balance(visitor.accountId)).toMatchObject({ deposit: 0n, charged: 0n })
      // What the lost branch dated later than the new one's head waits until its time has come.
      const fates = async () => {
        await settle(settler())
        const lines = await operator().ledger.statement(visitor.accountId, { limit: 10 })
        return Promise.all(lines.map(async ({ requestId }) => operator().ledger.request(requestId)))
      }
      const voided = Array.from({ length: 4 }, () => expect.objectContaining({ state: 'VOIDED', reason: 'Unfunded' }))
      await expect.poll(fates, { timeout: 40_000 }).toEqual(voided)
      expect((await visitor.standing())?.accountCharged ?? 0n).toBe(0n)
    })
  })

  describe('dust', () => {
    it('buys nothing below the price, and makes nobody spend more on gas than it earns', async () => {
      await settle(settler())
      const poor = await visit(stand(), PRICE - 1n)
      expect(statusesOf(await buy(poor, 3))).toEqual({ 402: 3 })
      const [first, second] = [await visit(stand(), PRICE), await visit(stand(), PRICE)]
      for (const visitor of [first, second]) expect(statusesOf(await buy(visitor, 2))).toEqual({ 200: 1, 402: 1 })
      const transactions = () => market().node.rpc('eth_getTransactionCount', market().config.collector, 'latest')
      const before = await transactions()
      const tick = settler({ maxAgeSeconds: 0, minGross: 1n, coinPrice: DEAR })
      for (let round = 0; round < 5; round++) expect(await tick()).toBe('idle')
      expect(await transactions()).toBe(before)
      await operator().passTime(3700)
      expect(await tick()).toBe('idle')
      for (const visitor of [first, second]) {
        const [line] = await operator().ledger.statement(visitor.accountId, { limit: 10 })
        expect(line?.state).toBe('VOIDED')
        expect((await visitor.standing())?.accountCharged).toBe(0n)
      }
    })
  })

  describe('client abort', () => {
    it('while the job runs pays for what was delivered, once, and keeps the answer for who comes back', async () => {
      const visitor = await visit(stand(), 10n * PRICE)
      const { apiKey } = await visitor.granary.account.createApiKey({ cap: 10n * PRICE, lifeSeconds: 3600, label: 'a' })
      await operator().indexed()
      const headers = { ...bearer(apiKey), 'idempotency-key': 'aborted' }
      const body = operator().body('aborted')
      const gate = operator().closeGate()
      await leaveDuring(stand().gateways[0].url, { headers, body: JSON.stringify(body), until: () => gate.jobs() === 1 })
      gate.open()
      await expect.poll(visitor.charged, { timeout: 20_000 }).toEqual({ lines: 1, sum: PRICE })
      const back = await openWire(stand().gateways[1].url)({ body, headers })
      expect(back).toMatchObject({ status: 200, json: { charged: PRICE.toString() } })
      expect(await visitor.charged()).toEqual({ lines: 1, sum: PRICE })
    })

    it('before the request is whole reserves nothing and pays nothing', async () => {
      const visitor = await visit(stand(), 10n * PRICE)
      const { apiKey } = await visitor.granary.account.createApiKey({ cap: 10n * PRICE, lifeSeconds: 3600, label: 'h' })
      await operator().indexed()
      const whole = JSON.stringify(operator().body('half'))
      const started = performance.now()
      await leaveDuring(stand().gateways[0].url, {
        headers: { ...bearer(apiKey), 'content-length': String(whole.length) },
        body: whole.slice(0, 10),
        until: () => performance.now() - started > 300,
      })
      expect(await visitor.charged()).toEqual({ lines: 0, sum: 0n })
      expect(await visitor.standing()).toMatchObject({ accountReserved: 0n })
    })
  })
}

/** Another escrow with the same constructor's arguments, from the same deployer. */
async function deployAgain({ operator }: Stand): Promise<string> {
  const { node, payer } = operator.market
  const path = new URL('../../../artifacts/contracts/InferenceEscrow.sol/InferenceEscrow.json', import.meta.url)
  const { abi, bytecode } = JSON.parse(readFileSync(path, 'utf8'))
  const { Token, DatasetRegistry, ModelRegistry, CooperativeParameters } = payer.addresses
  const args = [Token, DatasetRegistry, ModelRegistry, CooperativeParameters, 3600]
  const { data } = await new ContractFactory(abi, bytecode).getDeployTransaction(...args)
  const hash = await node.rpc('eth_sendTransaction', { from: node.wallets[0]?.address, data, gas: '0x1000000' })
  await node.rpc('evm_mine')
  const receipt = (await node.rpc('eth_getTransactionReceipt', hash)) as { contractAddress: string }
  return receipt.contractAddress.toLowerCase()
}

/** Hangs up without a word. */
async function leaveDuring(
  gatewayUrl: string,
  { headers, body, until }: { headers: Record<string, string>; body: string; until: () => boolean },
): Promise<void> {
  const { hostname, port } = new URL(gatewayUrl)
  const all = {
    host: hostname,
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(body)),
    ...headers,
  }
  const head = Object.entries(all).map(([name, value]) => `${name}: ${value}`)
  const socket = connect(Number(port), hostname)
  socket.on('error', () => undefined)
  socket.write(['POST /v1/infer HTTP/1.1', ...head, '', body].join('\r\n'))
  const deadline = performance.now() + 20_000
  while (!until()) {
    if (performance.now() > deadline) throw new Error('It was never under way.')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  socket.destroy()
}
