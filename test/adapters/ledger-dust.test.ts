import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openLedger } from '../../services/adapters/ledger/prisma-ledger.ts'
import type { Ledger } from '../../services/core/ports.ts'
import { openTestServer, type TestDatabase, type TestServer } from '../support/postgres.ts'
import { chargeOnce, draftAllOptions, fund, hex, newAccount, type TestAccount } from './conformance/ledger-acts.ts'

/** The collector earns a tenth. */
const economy = { feePpm: 100_000n, batch: 5000n, lane: 2000n, ownRow: 3000n, grantedRow: 4000n }

/** What is not worth its gas waits, and nothing else waits for it. */
describe('dust', () => {
  let server: TestServer
  let database: TestDatabase
  let ledger: Ledger
  beforeAll(async () => {
    server = await openTestServer()
    database = await server.database()
    ledger = await openLedger({ url: database.url })
  })
  afterAll(async () => {
    await ledger[Symbol.asyncDispose]()
    await database[Symbol.asyncDispose]()
    await server[Symbol.asyncDispose]()
  })

  const buyer = async (collector: string): Promise<TestAccount> => {
    const account = newAccount()
    const funds = { deposit: 10_000_000n, ceiling: 10_000_000n }
    return fund(ledger, { ...account, config: { ...account.config, collector } }, funds)
  }
  const accountsOf = (draft: Awaited<ReturnType<Ledger['draftBatch']>>) => draft?.rows.map(({ accountId }) => accountId)

  it('in more receipts than a batch holds, all older than one that pays, leaves that one to be settled', async () => {
    const collector = hex(20)
    const [dust, rich] = [await buyer(collector), await buyer(collector)]
    await chargeOnce(ledger, dust, { charged: 1n, servedAt: 1000 })
    await multiply(database.url, dust, 12_000)
    await chargeOnce(ledger, rich, { charged: 9_000_000n, servedAt: 1001 })
    expect(accountsOf(await ledger.draftBatch({ ...draftAllOptions(collector), economy }))).toEqual([rich.accountId])
  })

  it('of one key that owes enough in all, in a lane that pays in all, leaves a dearer key to be settled', async () => {
    const collector = hex(20)
    const [cheap, rich] = [await buyer(collector), await buyer(collector)]
    await chargeOnce(ledger, cheap, { charged: 4n, servedAt: 1000 })
    // All of it pays for a batch, the part that one batch holds doesn't.
    await multiply(database.url, cheap, 30_000)
    await chargeOnce(ledger, rich, { charged: 9_000_000n, servedAt: 1001 })
    const options = { ...draftAllOptions(collector), economy, maxRows: 1 }
    expect(accountsOf(await ledger.draftBatch(options))).toEqual([rich.accountId])
  })

  it('of as many accounts as a batch has rows, in a lane that pays, leaves the rows to others', async () => {
    const collector = hex(20)
    const modelId = hex(32)
    const dust = [await buyer(collector), await buyer(collector)]
    for (const account of dust) await chargeOnce(ledger, account, { charged: 29_999n, servedAt: 1000, modelId })
    const rich = await buyer(collector)
    await chargeOnce(ledger, rich, { charged: 100_000n, servedAt: 1001, modelId })
    const options = { ...draftAllOptions(collector), economy, maxRows: 2 }
    expect(accountsOf(await ledger.draftBatch(options))).toEqual([rich.accountId])
  })

  it('keeps nothing waiting of more keys than a batch has rows, and lets money at risk go first', async () => {
    const collector = hex(20)
    const accounts: TestAccount[] = []
    for (let place = 0; place < 5; place += 1) {
      const account = await buyer(collector)
      accounts.push(account)
      await chargeOnce(ledger, account, { charged: 1n, servedAt: 900 })
      await chargeOnce(ledger, account, { charged: 500_000n, servedAt: 1010 - place })
    }
    const dust = await buyer(collector)
    await chargeOnce(ledger, dust, { charged: 1n, servedAt: 900 })
    const leaving = accounts[0]
    if (leaving) await fund(ledger, leaving, { deposit: 10_000_000n, thawing: 10_000_000n })
    const drafted: string[][] = []
    for (let batch = 0; batch < 4; batch += 1) {
      const draft = await ledger.draftBatch({ ...draftAllOptions(collector), economy: { ...economy, lane: 0n }, maxRows: 2 })
      if (draft) drafted.push(accountsOf(draft) ?? [])
      for (const { requestIds } of draft?.rows ?? []) expect(requestIds).toHaveLength(2)
    }
    expect(drafted.map(({ length }) => length)).toEqual([2, 2, 1])
    expect(drafted[0]).toContain(leaving?.accountId)
    expect(drafted.flat().sort()).toEqual(accounts.map(({ accountId }) => accountId).sort())
  })

  it('that cost nothing takes no row, where gas costs nothing either', async () => {
    const collector = hex(20)
    for (const account of [await buyer(collector), await buyer(collector)])
      await chargeOnce(ledger, account, { charged: 0n, servedAt: 1000 })
    const rich = await buyer(collector)
    await chargeOnce(ledger, rich, { charged: 7n, servedAt: 1001 })
    const options = { ...draftAllOptions(collector), maxRows: 2 }
    expect(accountsOf(await ledger.draftBatch(options))).toEqual([rich.accountId])
  })

  it('is not what lets others wait: neither are x402 sales whose money is not swept yet, in more receipts than a batch holds', async () => {
    const collector = hex(20)
    const unfunded = newAccount()
    const house = { ...unfunded, config: { ...unfunded.config, collector } }
    await ledger.openHouse(house.accountId, house.config)
    await fund(ledger, house, { deposit: 0n, ceiling: 10n ** 20n })
    await chargeOnce(ledger, house, { charged: 1_000_000n, servedAt: 1000 })
    await multiply(database.url, house, 12_000)
    const buying = await buyer(collector)
    await chargeOnce(ledger, buying, { charged: 900_000n, servedAt: 1001 })
    expect(accountsOf(await ledger.draftBatch({ ...draftAllOptions(collector), economy }))).toEqual([buying.accountId])
  })

  it('or whatever else is older, lets money at risk go first', async () => {
    const collector = hex(20)
    for (const account of [await buyer(collector), await buyer(collector)])
      await chargeOnce(ledger, account, { charged: 500_000n, servedAt: 1000 })
    const leaving = await buyer(collector)
    await chargeOnce(ledger, leaving, { charged: 500_000n, servedAt: 1001 })
    await fund(ledger, leaving, { deposit: 10_000_000n, thawing: 10_000_000n })
    const options = { ...draftAllOptions(collector), economy, maxRows: 1 }
    expect(accountsOf(await ledger.draftBatch(options))).toEqual([leaving.accountId])
  })
})

/** So many more receipts like the one that an account has: only what a draft looks at. */
async function multiply(url: string, { accountId }: TestAccount, times: number): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    await client.query(
      `INSERT INTO unsettled (request_id, account_id, key, sequence, head, model_id, provider, purpose, charged, served_at)
       SELECT 'dust' || n || account_id, account_id, key, sequence + n, head || n, model_id, provider, purpose, charged, served_at
       FROM unsettled CROSS JOIN generate_series(1, $2) n WHERE account_id = $1`,
      [accountId, times],
    )
    await client.query('UPDATE keys SET spent = spent * ($2::int + 1) WHERE account_id = $1', [accountId, times])
  } finally {
    await client.end()
  }
}
