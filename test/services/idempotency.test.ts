import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { GranaryError } from '../../services/core/errors.ts'
import { openForgetting } from '../../services/gateway/forgetting.ts'
import { identityOf } from '../../services/gateway/repeats.ts'
import { hex } from '../adapters/conformance/ledger-acts.ts'
import { bearer } from '../edges/support/scene.ts'
import { expectProblem } from '../edges/support/wire.ts'
import { openTestServer } from '../support/postgres.ts'
import { type Counter, type Customer, masterKey, NOON, openCounter, PRICE } from './support/counter.ts'
import { silent } from './support/marketplace.ts'

const mood = (text: string) => ({ model: 'mood', inputs: { text } })

vi.setConfig({ testTimeout: 120_000 })
/** For a machine that is busy with other things. */
const PATIENT = { timeout: 30_000 }

describe('the same request again', () => {
  let counter: Counter
  let payer: Customer
  let apiKey: string
  beforeAll(async () => {
    counter = await openCounter()
    payer = await counter.customer()
    apiKey = (await payer.apiKey()).apiKey
  }, 120_000)
  afterEach(() => {
    counter.openGate()
    counter.employ(true)
  })
  afterAll(() => counter?.[Symbol.asyncDispose]())

  const once = () => ({ ...bearer(apiKey), 'idempotency-key': crypto.randomUUID() })
  const charged = async () => BigInt((await payer.granary.account.books.usage()).total.charged)

  it('of 64 in parallel runs once, charges once and gives all the same answer and receipt (concurrent replay)', async () => {
    const before = await charged()
    const sent = { body: mood('concurrent'), headers: once() }
    const jobs = counter.jobs()
    const replies = await Promise.all(Array.from({ length: 64 }, () => counter.send(sent)))
    expect(replies.map(({ status }) => status)).toEqual(Array(64).fill(200))
    expect(new Set(replies.map(({ bytes }) => bytes.toString())).size).toBe(1)
    expect(replies.filter(({ headers }) => headers['idempotent-replayed'] === undefined)).toHaveLength(1)
    expect(counter.jobs() - jobs).toBe(1)
    expect(await charged()).toBe(before + PRICE)
  })

  it('gets its answer also while no provider is there, on each route that sells', async () => {
    const embed = { model: 'vector', input: ['kept'] }
    const kinds = [
      { body: mood('kept'), changed: mood('changed'), headers: once() },
      { body: { ...mood('kept'), stream: true }, changed: { ...mood('changed'), stream: true }, headers: once() },
      { path: '/v1/embeddings', body: embed, changed: { ...embed, input: ['changed'] }, headers: once() },
    ]
    for (const { changed, ...sent } of kinds) {
      const first = await counter.send(sent)
      expect(first.status).toBe(200)
      const before = await charged()
      counter.employ(false)
      const again = await counter.send(sent)
      expect([again.status, again.headers['idempotent-replayed']]).toEqual([200, 'true'])
      const receipts = [first, again].map(({ bytes }) => /"receipt":\{.*?"path":\[.*?\]/.exec(bytes.toString())?.[0])
      expect(receipts[0]).toBeDefined()
      expect(receipts[1]).toBe(receipts[0])
      expectProblem(await counter.send({ ...sent, body: changed }), 409, 'idempotency.conflict')
      expectProblem(await counter.send({ ...sent, headers: once() }), 503, 'provider.none')
      expectProblem(
        await counter.send({ ...sent, headers: {} }),
        sent.path ? 401 : 503,
        sent.path ? 'credential.unknown' : 'provider.none',
      )
      counter.employ(true)
      expect(await charged()).toBe(before)
    }
  })

  it('gets its answer after a commit of which the database never told, and is not told that it was charged nothing', async () => {
    const sent = { body: mood('untold'), headers: once() }
    const before = await charged()
    const { commit } = counter.ledger
    const untold = vi.spyOn(counter.ledger, 'commit').mockImplementationOnce(async (delivery) => {
      await commit(delivery)
      throw new GranaryError('ledger.unavailable', 'The database does not answer.')
    })
    const problem = expectProblem(await counter.send(sent), 503, 'ledger.unavailable')
    untold.mockRestore()
    expect(await charged()).toBe(before + PRICE)
    expect(problem.hint).not.toMatch(/nothing was charged/)
    expect(problem.hint).toMatch(/same Idempotency-Key/)
    const again = await counter.send(sent)
    expect([again.status, again.headers['idempotent-replayed']]).toEqual([200, 'true'])
    expect(await charged()).toBe(before + PRICE)
  })

  it('runs once also when it reaches two gateways of one ledger', async () => {
    await using second = await counter.beside()
    const before = await charged()
    const headers = { ...once(), 'content-type': 'application/json' }
    const ask = (url: string) => fetch(`${url}/v1/infer`, { method: 'POST', headers, body: JSON.stringify(mood('two')) })
    const replies = await Promise.all(Array.from({ length: 32 }, (_, i) => ask(i % 2 === 0 ? counter.url : second.url)))
    expect(new Set(await Promise.all(replies.map((reply) => reply.text()))).size).toBe(1)
    expect(await charged()).toBe(before + PRICE)
  })

  it('with another body is 409, also while the first one runs', async () => {
    const headers = once()
    const gate = counter.closeGate()
    const first = counter.send({ body: mood('one'), headers })
    await expect.poll(gate.jobs, PATIENT).toBe(1)
    expectProblem(await counter.send({ body: mood('other'), headers }), 409, 'idempotency.conflict')
    gate.open()
    expect((await first).status).toBe(200)
    expectProblem(await counter.send({ body: mood('other'), headers }), 409, 'idempotency.conflict')
  })

  it('waits for the one that runs, to a bound, and then says when to come again', async () => {
    await using hasty = await counter.beside({ repeatWaitMs: 100 })
    const headers = once()
    const gate = counter.closeGate()
    const first = counter.send({ body: mood('slow'), headers })
    await expect.poll(gate.jobs, PATIENT).toBe(1)
    const init = {
      method: 'POST',
      headers: { ...headers, 'content-type': 'application/json' },
      body: JSON.stringify(mood('slow')),
    }
    const refused = await fetch(`${hasty.url}/v1/infer`, init)
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([409, '1'])
    expect(await refused.json()).toMatchObject({ code: 'idempotency.running' })
    const patient = counter.send({ body: mood('slow'), headers })
    await delay(50)
    gate.open()
    expect((await patient).bytes.equals((await first).bytes)).toBe(true)
    expect(gate.jobs()).toBe(1)
  })

  it('runs anew when the one it waited for was released', async () => {
    const headers = once()
    const gate = counter.closeGate()
    const first = counter.send({ body: mood('released'), headers })
    await expect.poll(gate.jobs, PATIENT).toBe(1)
    const repeat = counter.send({ body: mood('released'), headers })
    await counter.ledger.release(counter.lastJob(), 'test')
    // The second job waits at the same gate.
    await expect.poll(gate.jobs, PATIENT).toBe(2)
    gate.open()
    const [lost, answered] = await Promise.all([first, repeat])
    expectProblem(lost, 500, 'internal')
    expect(answered.status).toBe(200)
    const again = await counter.send({ body: mood('released'), headers })
    expect(again.bytes.equals(answered.bytes)).toBe(true)
  })

  it('is known per key: another key of the account with the same identifier buys its own answer', async () => {
    const other = (await payer.apiKey()).apiKey
    const headers = once()
    const mine = await counter.send({ body: mood('shared'), headers })
    const theirs = await counter.send({ body: mood('shared'), headers: { ...headers, ...bearer(other) } })
    expect(theirs.headers['idempotent-replayed']).toBeUndefined()
    expect(theirs.json.id).not.toBe(mine.json.id)
    const different = await counter.send({ body: mood('different'), headers: { ...headers, ...bearer(other) } })
    expectProblem(different, 409, 'idempotency.conflict')
  })

  it('finds its answer after the key was rotated', async () => {
    const made = await payer.apiKey()
    const headers = { ...bearer(made.apiKey), 'idempotency-key': 'across-a-rotation' }
    const first = await counter.send({ body: mood('rotated'), headers })
    const { apiKey: next } = await payer.granary.account.rotateApiKey(made.keyId)
    const again = await counter.send({ body: mood('rotated'), headers: { ...headers, ...bearer(next) } })
    expect(again.bytes.equals(first.bytes)).toBe(true)
  })

  it('leaves neither answer nor identifier readable in the database, not even with the master key alone', async () => {
    const headers = once()
    const { json } = await counter.send({ body: mood('unreadable'), headers })
    const row = await storedRow(counter.databaseUrl, String(json.id))
    expect(row.answer.length).toBeGreaterThan(500)
    expect(row.answer.includes('unreadable')).toBe(false)
    expect(JSON.stringify(row)).not.toContain(headers['idempotency-key'])
    const { accountId, key, idempotencyKey } = {
      accountId: row.account_id,
      key: row.key,
      idempotencyKey: headers['idempotency-key'],
    }
    expect(identityOf({ accountId, key, idempotencyKey }).digest).toBe(row.idempotency_key)
  })

  it('is told that the answer is gone once it is forgotten, and not charged again', async () => {
    const headers = once()
    const first = await counter.send({ body: mood('old'), headers })
    const before = await charged()
    const job = { ledger: counter.ledger, answerSeconds: 86_400, log: silent }
    await using early = openForgetting({ ...job, clock: () => NOON + 86_400 })
    expect(await early.round()).toBe(0)
    await using forgetting = openForgetting({ ...job, clock: () => NOON + 86_401 })
    expect(await forgetting.round()).toBeGreaterThan(0)
    const problem = expectProblem(await counter.send({ body: mood('old'), headers }), 410, 'answer.gone')
    expect(problem).toMatchObject({ requestId: first.json.id, charged: PRICE.toString(), retryable: false })
    expectProblem(await counter.send({ body: mood('new'), headers }), 409, 'idempotency.conflict')
    expect(await charged()).toBe(before)
  })

  it('keeps no answer where that is switched off, and still charges once', async () => {
    await using forgetful = await counter.beside({ answerSeconds: 0 })
    const before = await charged()
    const headers = { ...once(), 'content-type': 'application/json' }
    const ask = () => fetch(`${forgetful.url}/v1/infer`, { method: 'POST', headers, body: JSON.stringify(mood('brief')) })
    const first = await ask()
    expect(first.status).toBe(200)
    const { id } = (await first.json()) as { id: string }
    expect((await storedRow(counter.databaseUrl, id)).answer).toBeNull()
    const again = await ask()
    expect([again.status, await again.json()]).toEqual([410, expect.objectContaining({ code: 'answer.gone', requestId: id })])
    expect(await charged()).toBe(before + PRICE)
  })

  it('opens answers under a master key on its way out', async () => {
    const headers = once()
    const first = await counter.send({ body: mood('under the old key'), headers })
    const init = {
      method: 'POST',
      headers: { ...headers, 'content-type': 'application/json' },
      body: JSON.stringify(mood('under the old key')),
    }
    const both = await counter.beside({ masterKeys: [masterKey('b2'), masterKey('a1')] })
    const opened = await fetch(`${both.url}/v1/infer`, init)
    expect(Buffer.from(await opened.arrayBuffer()).equals(first.bytes)).toBe(true)
    await both[Symbol.asyncDispose]()
  })
})

describe('requests from before answers were sealed', () => {
  it('keep their identity over the migration, and lose their answers', async () => {
    await using server = await openTestServer()
    await using database = await server.database()
    const migration = (name: string) => readFileSync(`prisma/migrations/${name}/migration.sql`, 'utf8')
    await select(database.url, migration('0001_init'))
    const of = { accountId: hex(32), key: hex(20), idempotencyKey: 'naïve key' }
    const { accountId, key, idempotencyKey } = of
    const account = `INSERT INTO accounts (account_id, payer, collector, thaw_seconds, salt, head) VALUES ('${accountId}', '0x', '0x', 1, '0x', '0x')`
    const request = (id: string, name: string) =>
      `INSERT INTO requests (request_id, account_id, key, idempotency_key, body_hash, model_id, provider, purpose, units, unit_price, max, owner,
         reserved_at, state, answer) VALUES ('${id}', '${accountId}', '${key}', '${name}', '0x', '0x', '0x', 0, 1, 1, 1, 'me', 1, 'COMMITTED', 'plain')`
    for (const sql of [account, request('0x1', idempotencyKey), request('0x2', '0x2')]) await select(database.url, sql)
    await select(database.url, migration('0003_keys_and_limits'))
    expect(await select(database.url, 'SELECT request_id, idempotency_key, answer FROM requests ORDER BY 1')).toEqual([
      { request_id: '0x1', idempotency_key: identityOf(of).digest, answer: null },
      { request_id: '0x2', idempotency_key: '0x2', answer: null },
    ])
  })
})

async function storedRow(url: string, requestId: string) {
  const rows = await select(url, 'SELECT * FROM requests LEFT JOIN answers USING (request_id) WHERE request_id = $1', [requestId])
  return rows[0] as { answer: Buffer; account_id: string; key: string; idempotency_key: string }
}

async function select(url: string, sql: string, values?: unknown[]): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query(sql, values)).rows
  } finally {
    await client.end()
  }
}
