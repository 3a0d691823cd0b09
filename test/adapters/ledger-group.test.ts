import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openGroup } from '../../services/adapters/ledger/group.ts'
import { openLedger } from '../../services/adapters/ledger/prisma-ledger.ts'
import { GranaryError } from '../../services/core/errors.ts'
import type { CommittedTogether } from '../../services/core/selling-ledger.ts'
import { openTestServer, type TestServer } from '../support/postgres.ts'
import { deliver, fund, newAccount, order, untilLeasing } from './conformance/ledger-acts.ts'

const limits = { most: 4, waiting: 10, laneOf: () => 'one lane' }

describe('a group', () => {
  it('takes what waits together, at most so many, while one call runs at a time', async () => {
    const calls: number[][] = []
    const done = Promise.withResolvers<void>()
    const group = openGroup<number, number>({
      ...limits,
      async together(items) {
        calls.push([...items])
        if (calls.length === 1) await done.promise
        return items.map((item) => item * 10)
      },
      alone: async () => -1,
    })
    const first = group(1)
    await new Promise((resolve) => setImmediate(resolve))
    const rest = [2, 3, 4, 5, 6].map(group)
    done.resolve()
    expect(await Promise.all([first, ...rest])).toEqual([10, 20, 30, 40, 50, 60])
    expect(calls).toEqual([[1], [2, 3, 4, 5], [6]])
  })

  it('gathers more while the event loop is busy, for a moment or until there is enough, and waits for nobody when it is not', async () => {
    const calls: number[] = []
    const group = openGroup<number, number>({
      ...limits,
      most: 100,
      waiting: 1000,
      gather: { items: 8, ms: 1000 },
      async together(items) {
        calls.push(items.length)
        return [...items]
      },
      alone: async () => -1,
    })
    // Busy for as long as it takes to be seen as that: what is computed leaves the loop no time.
    const untilMs = performance.now() + 400
    while (performance.now() < untilMs) {
      await new Promise((resolve) => setImmediate(resolve))
      for (const end = performance.now() + 20; performance.now() < end; );
      if (calls.length === 0) await group(0)
    }
    calls.length = 0
    const first = group(1)
    await new Promise((resolve) => setImmediate(resolve))
    await new Promise((resolve) => setImmediate(resolve))
    expect(calls).toEqual([])
    await Promise.all([first, ...[2, 3, 4, 5, 6, 7, 8].map(group)])
    expect(calls).toEqual([8])
    await new Promise((resolve) => setTimeout(resolve, 300))
    await group(9)
    await new Promise((resolve) => setTimeout(resolve, 150))
    const before = performance.now()
    await group(10)
    expect(performance.now() - before).toBeLessThan(900)
    expect(calls.at(-1)).toBe(1)
  })

  it('does alone what the shared call leaves, and everything when that call fails', async () => {
    const group = openGroup<number, string>({
      ...limits,
      async together(items) {
        if (items.includes(3)) throw new Error('a bad item')
        return items.map((item) => (item === 2 ? undefined : `together ${item}`))
      },
      async alone(item) {
        if (item === 3) throw new Error('bad by itself')
        return `alone ${item}`
      },
    })
    expect(await Promise.all([1, 2].map(group))).toEqual(['together 1', 'alone 2'])
    const ends = await Promise.allSettled([1, 3].map(group))
    expect(ends).toMatchObject([{ value: 'alone 1' }, { reason: { message: 'bad by itself' } }])
  })

  it('does alone a few at a time, those of one lane one after the other, so that no lane takes all connections', async () => {
    const now = new Map<string, number>()
    const most = { ofLane: 0, inAll: 0 }
    const group = openGroup<string, string>({
      most: 100,
      waiting: 100,
      together: async (items) => items.map(() => undefined),
      laneOf: ([lane = '']) => lane,
      async alone(item) {
        const lane = item[0] ?? ''
        now.set(lane, (now.get(lane) ?? 0) + 1)
        most.ofLane = Math.max(most.ofLane, now.get(lane) ?? 0)
        most.inAll = Math.max(
          most.inAll,
          [...now.values()].reduce((sum, count) => sum + count, 0),
        )
        await new Promise((resolve) => setImmediate(resolve))
        now.set(lane, (now.get(lane) ?? 0) - 1)
        return item
      },
    })
    const items = Array.from({ length: 90 }, (_, index) => `${'abcdefghijkl'[index % 3 === 0 ? index % 12 : 0]}${index}`)
    expect(await Promise.all(items.map(group))).toEqual(items)
    expect(most.ofLane).toBe(1)
    expect(most.inAll).toBeGreaterThan(1)
    expect(most.inAll).toBeLessThanOrEqual(6)
  })

  it('repeats nothing whose fate is unknown, and refuses what is too much', async () => {
    let alone = 0
    const group = openGroup<number, number>({
      ...limits,
      async together() {
        throw new GranaryError('ledger.unavailable', 'The database does not answer.')
      },
      async alone(item) {
        alone += 1
        return item
      },
    })
    const ends = await Promise.allSettled(Array.from({ length: 11 }, (_, item) => group(item)))
    expect(ends.map((end) => end.status === 'rejected' && end.reason.code)).toEqual(ends.map(() => 'ledger.unavailable'))
    expect(alone).toBe(0)
  })
})

describe('the ledger in groups', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await openTestServer()
  })
  afterAll(() => server[Symbol.asyncDispose]())

  it('answers others, and all of them in the end, while many requests of one account are judged one by one and slowly', async () => {
    await using database = await server.database()
    await using ledger = await openLedger({ url: database.url })
    const broke = await fund(ledger, newAccount(), { deposit: 1n, ceiling: 1n })
    const other = await fund(ledger, newAccount(), { deposit: 100n, ceiling: 100n })
    const slowing = new pg.Client({ connectionString: database.url })
    await slowing.connect()
    await untilLeasing(ledger, other)
    // Only who is judged alone looks at stored answers.
    await slowing.query('BEGIN; LOCK TABLE answers IN ACCESS EXCLUSIVE MODE')
    const refusals = Promise.allSettled(Array.from({ length: 100 }, () => ledger.reserve(order(broke, { max: 5n }), 1000)))
    const isJudging = `SELECT FROM pg_locks WHERE relation = 'answers'::regclass AND NOT granted`
    await expect.poll(async () => (await slowing.query(isJudging)).rowCount).toBeGreaterThan(0)
    expect(await ledger.reserve(order(other, { leased: true }), 1000)).toEqual({ ok: true })
    // Longer than anybody waits for a connection.
    await new Promise((resolve) => setTimeout(resolve, 4500))
    await slowing.query('COMMIT')
    await slowing.end()
    const kinds = (await refusals).map((end) =>
      end.status === 'fulfilled' ? !end.value.ok && end.value.reason : end.reason.code,
    )
    expect(new Set(kinds)).toEqual(new Set(['insufficient']))
  })

  it('writes 64 parallel requests of many accounts in a few transactions, not in 64', async () => {
    await using database = await server.database()
    await using ledger = await openLedger({ url: database.url })
    const accounts = await Promise.all(Array.from({ length: 8 }, () => newAccount()))
    for (const account of accounts) await fund(ledger, account, { deposit: 100n, ceiling: 100n })
    await untilLeasing(ledger, accounts[0] ?? newAccount())
    const orders = Array.from({ length: 64 }, (_, index) => order(accounts[index % 8] ?? newAccount(), { leased: true }))
    await Promise.all(orders.map((one) => ledger.reserve(one, 1000)))
    expect(await transactionsOf(database.url, 'leases')).toBeLessThanOrEqual(2)
    const groups = new Set<readonly string[]>()
    const note = ({ group }: CommittedTogether) => {
      groups.add(group)
      return new Uint8Array()
    }
    await Promise.all(orders.map((one) => ledger.commit({ ...deliver(one, { charged: 1n }), answerOf: note })))
    // As few signatures of the collector.
    expect(groups.size).toBeLessThanOrEqual(2)
    expect([...groups].flat().length).toBe(64)
    expect(await transactionsOf(database.url, 'receipts')).toBeLessThanOrEqual(2)
  })

  it('leaves out whose answer can’t be made, and chains and signs the others as if it were not there', async () => {
    await using database = await server.database()
    await using ledger = await openLedger({ url: database.url })
    const account = await fund(ledger, newAccount(), { deposit: 100n, ceiling: 100n })
    await untilLeasing(ledger, account)
    const orders = Array.from({ length: 8 }, () => order(account, { dispatched: true, leased: true }))
    await Promise.all(orders.map((one) => ledger.reserve(one, 1000)))
    const groups: (readonly string[])[] = []
    const ends = await Promise.allSettled(
      orders.map((one, index) => {
        const answerOf = ({ group }: CommittedTogether) => {
          if (index === 3) throw new Error('no answer')
          groups.push(group)
          return new Uint8Array()
        }
        return ledger.commit({ ...deliver(one, { charged: 1n }), answerOf })
      }),
    )
    expect(ends.map(({ status }) => status === 'fulfilled')).toEqual(ends.map((_, index) => index !== 3))
    const heads = ends.flatMap((end) => (end.status === 'fulfilled' ? [end.value.head] : []))
    expect(groups.at(-1)).toEqual(heads)
    expect((await ledger.statement(account.accountId, { limit: 10 })).map(({ sequence }) => sequence)).toEqual([
      ...[7n, 6n, 5n, 4n, 3n, 2n, 1n],
    ])
    expect(await transactionsOf(database.url, 'receipts')).toBe(1)
  })
})

/** Every row knows the transaction that wrote it. */
async function transactionsOf(url: string, table: 'leases' | 'receipts'): Promise<number> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    const { rows } = await client.query(`SELECT count(DISTINCT xmin::text) AS count FROM ${table}`)
    return Number(rows[0].count)
  } finally {
    await client.end()
  }
}
