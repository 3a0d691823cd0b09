import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Worker } from 'node:worker_threads'
import { Wallet } from 'ethers'
import type { FastifyInstance } from 'fastify'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { openLedger } from '../../services/adapters/ledger/prisma-ledger.ts'
import { GranaryError } from '../../services/core/errors.ts'
import { typedData } from '../../services/core/messages.ts'
import type { Ledger } from '../../services/core/ports.ts'
import type { PublishedBatch } from '../../services/core/published-batch.ts'
import { openApp } from '../../services/gateway/app.ts'
import { type Archive, openArchive } from '../../services/gateway/archive/archive.ts'
import { publishRound } from '../../services/gateway/publisher.ts'
import { receiptRoutes } from '../../services/gateway/routes/receipts.ts'
import { openIndexer } from '../../services/indexer/indexer.ts'
import { auditBatch, auditReceipts, openWitness, type ReceiptsFile } from '../../services/sdk/audit.ts'
import { openContracts } from '../../services/sdk/contracts.ts'
import { auditPublished } from '../../services/sdk/published.ts'
import { openSettler } from '../../services/settler/settler.ts'
import { deliver, order } from '../adapters/conformance/ledger-acts.ts'
import { devChainMissing } from '../adapters/support/dev-chain.ts'
import { run } from '../edges/support/run.ts'
import { openTestServer } from '../support/postgres.ts'
import { deposit, eagerSettler, type Marketplace, openMarketplace, randomId, silent } from './support/marketplace.ts'

const missing = devChainMissing()
const REQUESTS = 7
const PRICE = 3n

/** Chain, PostgreSQL, indexer and settler for real; the gateway's and the provider's part is played by the test. */
describe.skipIf(missing !== null)(`published receipts${missing ? ` (skipped: ${missing})` : ''}`, () => {
  const stack = new AsyncDisposableStack()
  const session = new Wallet(randomId())
  const kept = new Map<string, Uint8Array>()
  let market: Marketplace
  let ledger: Ledger
  let app: FastifyInstance
  let file: ReceiptsFile
  let archive: Archive
  let databaseUrl: string

  beforeAll(async () => {
    market = stack.use(await openMarketplace())
    const server = stack.use(await openTestServer())
    const database = stack.use(await server.database())
    ledger = stack.use(await openLedger({ url: database.url }))
    const { collector } = market.config
    const escrow = escrowOf(market)
    app = await openApp({ log: silent, bodyLimitBytes: 1000, requestsPerMinute: 1000 })
    const payer = async () => ({ accountId: market.accountId, key: market.config.payer }) as never
    databaseUrl = database.url
    archive = stack.use(openArchive({ databaseUrl, escrow, log: silent }))
    receiptRoutes(app, { ledger, archive, callers: { payer }, collector })
    stack.defer(() => app.close())

    await deposit(market, 1_000_000n)
    stack.use(openIndexer({ chain: market.payer, ledger, deployBlock: 1, log: silent, pollMs: 20 }))
    await vi.waitFor(async () => expect(await ledger.standing(market.accountId, market.config.payer)).not.toBeNull(), 20_000)
    await ledger.acceptVoucher(await market.voucher(100_000n))
    stack.use(settler())
    for (let i = 1; i <= REQUESTS; i += 1) await serve(BigInt(i))
    await vi.waitFor(async () => expect(await ledger.exposure(collector)).toMatchObject({ requests: 0 }), 30_000)
    await serve(0n)
    const store = {
      async put(bytes: Uint8Array) {
        kept.set(`cid${kept.size}`, bytes)
        return `cid${kept.size - 1}`
      },
    }
    while ((await publishRound({ ledger, archive, store, collector, log: silent })) > 0);
    file = await fileOf()
  }, 120_000)
  afterAll(() => stack.disposeAsync())

  it('make every settled batch again, byte by byte, from what was put to IPFS', async () => {
    const { batches } = (await app.inject('/v1/batches')).json()
    expect(batches.length).toBeGreaterThan(0)
    expect(new Set(batches.map((batch: { cid: string }) => batch.cid))).toEqual(new Set(kept.keys()))
    let receipts = 0
    for (const { batchId, transaction, cid } of batches) {
      const served = await app.inject(`/v1/batches/${batchId}`)
      expect(served.headers['granary-transaction']).toBe(transaction)
      expect(Buffer.compare(served.rawPayload, Buffer.from(kept.get(cid) ?? []))).toBe(0)
      const sent = await contracts().calldata('InferenceEscrow', transaction)
      receipts += auditBatch(served.rawPayload, sent).heads.length
      for (const spoil of spoils) {
        const batch = JSON.parse(served.rawPayload.toString()) as PublishedBatch
        spoil(batch)
        expect(() => auditBatch(Buffer.from(JSON.stringify(batch)), sent), spoil.toString()).toThrow(
          expect.objectContaining({ code: 'receipt.wrong' }),
        )
      }
    }
    expect(receipts).toBe(REQUESTS)
    expect((await app.inject(`/v1/batches/${randomId()}`)).statusCode).toBe(404)
  })

  it('hold against the chain, which is asked without the gateway', async () => {
    expect(file.receipts.map(({ state }) => state)).toEqual([...Array(REQUESTS).fill('FINAL'), 'COMMITTED'])
    const settled = (PRICE * BigInt(REQUESTS * (REQUESTS + 1))) / 2n
    const audit = await auditReceipts(file, openWitness(file, market.node.rpcUrl))
    expect(audit).toEqual({
      receipts: REQUESTS + 1,
      settled,
      pending: 0n,
      voided: 0,
      unknownSigners: [session.address.toLowerCase()],
    })
  })

  it('let a payer sum up what was paid from published batches and a node, when no gateway is there', async () => {
    const all = [...kept.values()]
    const settled = (PRICE * BigInt(REQUESTS * (REQUESTS + 1))) / 2n
    const { rpcUrl } = market.node
    const audit = await auditPublished(all, { rpcUrl })
    expect(audit.accounts).toMatchObject([
      { accountId: market.accountId, receipts: REQUESTS, charged: settled, onChain: settled },
    ])
    expect(audit.batches).toHaveLength(all.length)
    const [part] = (await auditPublished(all.slice(1), { rpcUrl })).accounts
    expect(part?.onChain).toBe(settled)
    expect(part?.charged).toBeLessThan(settled)
    await expect(auditPublished([...all, ...all], { rpcUrl })).rejects.toMatchObject({ code: 'receipt.wrong' })
    for (const spoil of [...spoils, (batch: PublishedBatch) => Object.assign(batch, { batchId: randomId() })]) {
      const batch = JSON.parse(Buffer.from(all[0] ?? []).toString()) as PublishedBatch
      spoil(batch)
      const spoiled = auditPublished([Buffer.from(JSON.stringify(batch)), ...all.slice(1)], { rpcUrl })
      await expect(spoiled, spoil.toString()).rejects.toMatchObject({ code: 'receipt.wrong' })
    }

    const dir = mkdtempSync(join(tmpdir(), 'granary-audit-'))
    const files = all.map((_, index) => join(dir, `${index}.json`))
    for (const [index, file] of files.entries()) writeFileSync(file, all[index] ?? '')
    const offline = ['services/cli/main.ts', 'account', 'audit', ...files, '--rpc', rpcUrl]
    const { code, output } = await run(offline, { GRANARY_DIR: dir })
    rmSync(dir, { recursive: true })
    expect({ code, output }).toEqual({ code: 0, output: expect.stringMatching(/the escrow has charged \d+\.\d{6}, the same\n$/) })
  }, 60_000)

  it('do not hold with a receipt left out, moved, made up, changed, or said to be settled elsewhere', async () => {
    const witness = openWitness(file, market.node.rpcUrl)
    const changed = (change: (receipts: ReceiptsFile['receipts']) => void) => {
      const copy = structuredClone(file)
      change(copy.receipts)
      return auditReceipts(copy, witness)
    }
    const wrong = { code: 'receipt.wrong' }
    for (let i = 0; i < REQUESTS; i += 1) await expect(changed((all) => all.splice(i, 1))).rejects.toMatchObject(wrong)
    await expect(changed((all) => all.splice(0, 2, ...all.slice(0, 2).reverse()))).rejects.toMatchObject(wrong)
    const fields: ((receipt: ReceiptsFile['receipts'][number]) => void)[] = [
      (receipt) => Object.assign(receipt, { charged: '1' }),
      (receipt) => Object.assign(receipt.job, { units: '1000', unitPrice: '3' }),
      (receipt) => Object.assign(receipt, { state: 'VOIDED' }),
      (receipt) => Object.assign(receipt, { proof: null }),
      (receipt) => Object.assign(receipt, { batchId: randomId() }),
      (receipt) => Object.assign(receipt, { key: `0x${'01'.repeat(20)}` }),
      (receipt) => Object.assign(receipt, { previousHead: randomId() }),
      (receipt) => Object.assign(receipt, { providerSignature: '0x' }),
    ]
    for (const field of fields)
      await expect(
        changed(([first]) => first && field(first)),
        field.toString(),
      ).rejects.toMatchObject(wrong)
  })

  it('are not shown where they no longer rebuild the transaction', async () => {
    const { batches } = (await app.inject('/v1/batches')).json()
    const { batchId } = batches[0]
    const client = new pg.Client({ connectionString: databaseUrl })
    await client.connect()
    const among = 'WHERE request_id = (SELECT request_id FROM requests WHERE batch_id = $1 LIMIT 1)'
    const rewrite = (servedAt: string) =>
      client.query(`UPDATE receipts SET receipt = receipt::jsonb || jsonb_build_object('servedAt', ${servedAt}) ${among}`, [
        batchId,
      ])
    try {
      await rewrite('served_at - 1')
      await expect(archive.bytes(batchId)).rejects.toBeInstanceOf(GranaryError)
      expect((await app.inject(`/v1/batches/${batchId}`)).statusCode).toBeGreaterThanOrEqual(500)
      await rewrite('served_at')
      expect((await app.inject(`/v1/batches/${batchId}`)).statusCode).toBe(200)
    } finally {
      await client.end()
    }
  })

  it('come from another thread once the first has died, which fails what was asked of it', async () => {
    const { batches } = (await app.inject('/v1/batches')).json()
    const threads: Worker[] = []
    const count = (thread: Worker) => threads.push(thread)
    process.on('worker', count)
    await using other = openArchive({ databaseUrl, escrow: escrowOf(market), log: silent, mostWaiting: 2 })
    try {
      const [asked, next] = [other.bytes(batches[0].batchId), other.proofs(batches[0].batchId, [])]
      await expect(other.bytes(batches[0].batchId)).rejects.toMatchObject({ code: 'rate.limited' })
      const patient = other.bytes(batches[0].batchId, 'always')
      await vi.waitFor(() => expect(threads).toHaveLength(1))
      await Promise.all([threads[0]?.terminate(), expect(asked).rejects.toMatchObject({ code: 'internal' })])
      expect(await next).toMatchObject({ transaction: batches[0].transaction })
      expect(await patient).toMatchObject({ transaction: batches[0].transaction })
      expect(threads).toHaveLength(2)
      expect(await other.bytes(randomId())).toBeNull()
    } finally {
      process.off('worker', count)
    }
  })

  const spoils: ((batch: PublishedBatch) => void)[] = [
    ({ rows }) => rows[0]?.receipts.pop(),
    ({ rows }) => Object.assign(rows[0]?.receipts[0] ?? {}, { charged: '999' }),
    ({ rows }) => Object.assign(rows[0]?.receipts[0]?.job ?? {}, { servedAt: 1 }),
    ({ rows }) => Object.assign(rows[0]?.receipts[0] ?? {}, { previousHead: randomId() }),
    ({ rows }) => Object.assign(rows[0] ?? {}, { ceiling: '1' }),
    ({ lanes }) => Object.assign(lanes[0] ?? {}, { provider: `0x${'02'.repeat(20)}` }),
    ({ lanes }) => Object.assign(lanes[0] ?? {}, { lastServedAt: 1 }),
  ]

  async function serve(units: bigint): Promise<void> {
    const account = { accountId: market.accountId, config: market.config, key: market.config.payer }
    const provider = market.provider.sender ?? ''
    const reservation = order(account, { max: units * PRICE, units, unitPrice: PRICE, modelId: market.modelId, provider })
    expect(await ledger.reserve(reservation, 0)).toEqual({ ok: true })
    await ledger.dispatched(reservation.requestId, provider)
    const { timestamp } = await market.payer.head()
    const delivery = deliver(reservation, { charged: units * PRICE, servedAt: timestamp })
    const receipt = { ...delivery.receipt, units, unitPrice: PRICE }
    const { domain, types, value } = typedData('InferenceEscrow', 'JobReceipt', escrowOf(market), { ...receipt })
    const providerSignature = await session.signTypedData(domain, types, value)
    await ledger.commit({ ...delivery, receipt, providerSignature })
  }

  /** As the SDK makes it: page by page, the latest first. */
  async function fileOf(): Promise<ReceiptsFile> {
    const receipts: ReceiptsFile['receipts'] = []
    for (let before = ''; ; before = `&before=${receipts.at(-1)?.sequence}`) {
      const page = (await app.inject(`/v1/receipts?limit=3${before}`)).json()
      if (page.receipts.length === 0) break
      receipts.push(...page.receipts)
    }
    const { InferenceEscrow = '', ProviderRegistry = '', Token = '' } = market.payer.addresses
    return {
      format: 'granary-receipts/1',
      chainId: '31337',
      contracts: { InferenceEscrow, ProviderRegistry },
      token: Token,
      collector: market.config.collector,
      accountId: market.accountId,
      receipts: receipts.reverse(),
    }
  }

  function contracts() {
    const { rpcUrl } = market.node
    return openContracts({ rpcUrl, chainId: 31337n, addresses: market.payer.addresses, wallet: null })
  }

  function settler(): AsyncDisposable {
    return openSettler({ ...eagerSettler(market, ledger), pollMs: 10, syncModels: async () => 0 })
  }
})

function escrowOf(market: Marketplace) {
  const { InferenceEscrow = '', Token = '' } = market.payer.addresses
  return { chainId: 31337n, address: InferenceEscrow, token: Token }
}
