import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import type { InferAnswer } from '../../services/core/api.ts'
import { checkReceipt } from '../../services/sdk/receipts.ts'
import { untilLeasing } from '../adapters/conformance/ledger-acts.ts'
import { bearer } from '../edges/support/scene.ts'
import { type Counter, openCounter, PRICE } from './support/counter.ts'

vi.setConfig({ testTimeout: 120_000 })

const PAYERS = 4
const EACH = 4
const ALL = PAYERS * EACH

/** Of several payers, at one gateway. */
describe('receipts that are committed together', () => {
  let counter: Counter
  beforeAll(async () => {
    counter = await openCounter()
  }, 120_000)
  afterEach(() => vi.restoreAllMocks())
  afterAll(() => counter[Symbol.asyncDispose]())

  /** Commits nothing before `count` deliveries are there, and then all at once. */
  function commitAtOnce(count: number): void {
    const { commit } = counter.ledger
    const { promise, resolve } = Promise.withResolvers<void>()
    let arrived = 0
    vi.spyOn(counter.ledger, 'commit').mockImplementation(async (delivery) => {
      arrived += 1
      if (arrived === count) resolve()
      await promise
      return commit(delivery)
    })
  }

  async function requests(payers: number) {
    const asked = []
    for (let payer = 0; payer < payers; payer++) {
      const { accountId, apiKey } = await counter.customer()
      const granted = await apiKey()
      for (let index = 0; index < EACH; index++) {
        const headers = { ...bearer(granted.apiKey), 'idempotency-key': crypto.randomUUID() }
        asked.push({ accountId, key: granted.key, headers, body: { model: 'mood', inputs: { text: `text ${index}` } } })
      }
    }
    return asked
  }

  it('have one signature, which holds for each of them alone, and is what a repeat gets too', async () => {
    const asked = await requests(PAYERS)
    // A first answer for each key: its ceiling is signed far ahead then, and what follows runs on leases.
    for (const [index, one] of asked.entries()) {
      if (index % EACH === 0) await counter.send({ ...one, headers: { ...one.headers, 'idempotency-key': `first-${index}` } })
    }
    await untilLeasing(counter.ledger, asked[0] as { accountId: string; key: string })
    commitAtOnce(ALL)
    const replies = await Promise.all(asked.map((one) => counter.send(one)))
    const answers = replies.map(({ json }) => json as unknown as InferAnswer)
    expect(new Set(answers.map(({ receipt }) => receipt.collectorSignature)).size).toBe(1)
    expect(answers.map(({ receipt }) => receipt.path.length)).toEqual(Array(ALL).fill(Math.log2(ALL)))
    const facts = (await counter.send({ method: 'GET', path: '/v1' })).json
    const escrow = { chainId: BigInt(String(facts.chainId)), address: String(facts.escrow) }
    const collector = String(facts.collector)
    for (const [index, answer] of answers.entries()) {
      const { accountId, key, body } = asked[index] as (typeof asked)[number]
      const check = { asked: body, escrow, collector, accountId, key, max: PRICE }
      expect(() => checkReceipt({ ...check, answer })).not.toThrow()
      const { path } = (answers[(index + 1) % ALL] as InferAnswer).receipt
      expect(() => checkReceipt({ ...check, answer: { ...answer, receipt: { ...answer.receipt, path } } })).toThrow(
        'did not sign',
      )
    }
    const again = await Promise.all(asked.map((one) => counter.send(one)))
    expect(again.map(({ headers }) => headers['idempotent-replayed'])).toEqual(Array(ALL).fill('true'))
    expect(again.map(({ bytes }) => bytes.toString())).toEqual(replies.map(({ bytes }) => bytes.toString()))
  })

  it('need no path where there is one alone', async () => {
    const [alone] = await requests(1)
    const { json } = await counter.send(alone ?? {})
    expect(json).toMatchObject({ receipt: { path: [] } })
  })
})
