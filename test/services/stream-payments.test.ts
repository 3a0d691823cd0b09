import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import type { StepEvent } from '../../services/core/api.ts'
import { GranaryError } from '../../services/core/errors.ts'
import { commitDelivered } from '../../services/gateway/streams/leftovers.ts'
import { eventsOf as events } from '../../services/sdk/event-stream.ts'
import { Granary } from '../../services/sdk/granary.ts'
import type { InferenceStream } from '../../services/sdk/inference-stream.ts'
import type { Meter } from '../../services/sdk/meter.ts'
import { draftSession, openedSession, sessionRequest, signVoucher, voucherHeader } from '../edges/support/session.ts'
import { expectProblem } from '../edges/support/wire.ts'
import { type Counter, type Customer, NOON, openCounter, PRICE, STEP } from './support/counter.ts'
import { openHttpServer } from './support/http-server.ts'
import { silent } from './support/marketplace.ts'

vi.setConfig({ testTimeout: 120_000 })
const PATIENT = { timeout: 30_000 }
const STEP_PRICE = BigInt(STEP) * PRICE
const body = (steps: number) => ({ model: 'mood', inputs: { text: Array.from({ length: steps * STEP }, (_, i) => `text ${i}`) } })

describe('paying for a stream', () => {
  let counter: Counter
  beforeAll(async () => {
    counter = await openCounter({ topUpSeconds: 4 })
  }, 120_000)
  afterEach(() => counter.steps.reset())
  afterAll(() => counter?.[Symbol.asyncDispose]())

  const read = async (stream: InferenceStream) => {
    const steps: StepEvent[] = []
    for await (const step of stream) steps.push(step)
    return steps
  }
  const standing = async ({ accountId, config }: Customer) => {
    const found = await counter.ledger.standing(accountId, config.payer)
    if (!found) throw new Error('no standing')
    return found
  }
  const settled = (payer: Customer) => expect.poll(async () => (await standing(payer)).accountReserved, PATIENT).toBe(0n)
  const meterOf = async (payer: Customer, maxSteps: number): Promise<Meter> =>
    payer.granary.account.meter({ maxPerRequest: BigInt(maxSteps) * STEP_PRICE })

  it('signs further vouchers while it reads, and pays to the unit for what came', async () => {
    const payer = await counter.customer()
    const meter = await meterOf(payer, 100)
    const stream = await meter.inferStream(body(50))
    const ceilings = new Set<bigint>()
    let seen = 0
    for await (const step of stream) {
      seen += 1
      expect(step).toMatchObject({ index: seen - 1, of: 50, cost: `${BigInt(seen) * STEP_PRICE}` })
      const { ceiling, spent, reserved } = await standing(payer)
      ceilings.add(ceiling)
      expect(spent + reserved).toBeLessThanOrEqual(ceiling)
    }
    expect(seen).toBe(50)
    expect(ceilings.size).toBeGreaterThan(2)
    expect(stream.receipt).toMatchObject({ steps: 50, charged: `${50n * STEP_PRICE}` })
    expect(await standing(payer)).toMatchObject({ spent: 50n * STEP_PRICE, accountReserved: 0n })
    // The next request goes on from there.
    expect(await meter.infer(body(1))).toMatchObject({ charged: `${STEP_PRICE}` })
  })

  it('runs 8 streams of one meter in parallel', async () => {
    const payer = await counter.customer()
    const meter = await meterOf(payer, 30)
    const streams = await Promise.all(Array.from({ length: 8 }, () => meter.inferStream(body(20))))
    for (const steps of await Promise.all(streams.map(read))) expect(steps).toHaveLength(20)
    expect((await standing(payer)).spent).toBe(8n * 20n * STEP_PRICE)
  })

  it('ends at the buyer’s budget for the stream, with the receipt for what that bought', async () => {
    const payer = await counter.customer()
    const meter = await meterOf(payer, 100)
    const stream = await meter.inferStream(body(60), { max: 30n * STEP_PRICE + 1n })
    const seen: StepEvent[] = []
    const reading = (async () => {
      for await (const step of stream) seen.push(step)
    })()
    await expect(reading).rejects.toMatchObject({ code: 'voucher.stale', evidence: { limit: 'ceiling' } })
    expect(seen).toHaveLength(30)
    expect(stream.receipt).toMatchObject({ charged: `${30n * STEP_PRICE}`, steps: 30, of: 60 })
    expect((await standing(payer)).ceiling).toBeLessThanOrEqual(30n * STEP_PRICE + 1n)
  })

  it('ends where the deposit does', async () => {
    const payer = await counter.customer(7n * STEP_PRICE + 3n)
    const stream = await (await meterOf(payer, 100)).inferStream(body(60))
    await expect(read(stream)).rejects.toMatchObject({ code: 'payment.insufficient', evidence: { limit: 'deposit' } })
    expect(stream.receipt).toMatchObject({ steps: 7, charged: `${7n * STEP_PRICE}` })
  })

  it('costs who leaves the loop what came until then', async () => {
    const payer = await counter.customer()
    const meter = await meterOf(payer, 100)
    counter.steps.letThrough(5)
    const stream = await meter.inferStream(body(50))
    let seen = 0
    for await (const _ of stream) if (++seen === 5) break
    await settled(payer)
    expect((await standing(payer)).spent).toBe(5n * STEP_PRICE)
    expect(stream.receipt).toBeNull()
  })

  it('asks for a top-up before the ceiling is reached; the stream waits so long, and goes on at another gateway’s voucher', async () => {
    const payer = await counter.customer()
    await using other = await counter.beside()
    const [here, there] = await Promise.all([counter.url, other.url].map((url) => sessionAt(url, payer)))
    if (!here || !there) throw new Error('no session')
    const signed = async (steps: number) =>
      voucherHeader(await signVoucher({ ...here.voucher, ceiling: BigInt(steps) * STEP_PRICE }))
    const asked = { ...body(12), stream: true }
    const first = sessionRequest(here.session, { body: asked, voucher: await signed(6) })
    const answer = await fetch(`${counter.url}/v1/infer`, {
      method: 'POST',
      headers: { ...first, 'content-type': 'application/json' },
      body: JSON.stringify(asked),
    })
    const seen: string[] = []
    for await (const { event, data } of events(answer)) {
      seen.push(event)
      if (event !== 'top-up') continue
      expect(data).toMatchObject({ post: '/v1/vouchers', stepsLeft: seen.length > 6 ? 0 : expect.any(Number), withinSeconds: 4 })
      const { signAtLeast, stepsLeft } = data as { signAtLeast: string; stepsLeft: number }
      expect(stepsLeft).toBeGreaterThan(0)
      expect(BigInt(signAtLeast)).toBeGreaterThan(6n * STEP_PRICE)
      const voucher = await signed(12)
      const posted = { body: {}, voucher, path: '/v1/vouchers' }
      const headers = { ...sessionRequest(there.session, posted), 'content-type': 'application/json' }
      const kept = await fetch(`${other.url}/v1/vouchers`, { method: 'POST', headers, body: '{}' })
      expect(await kept.json()).toMatchObject({ ceiling: `${12n * STEP_PRICE}` })
    }
    expect(seen.indexOf('top-up')).toBeLessThan(6)
    expect(seen.filter((event) => event === 'step')).toHaveLength(12)
    expect(seen.at(-1)).toBe('receipt')
  })

  it('takes vouchers under a session only, the highest of them', async () => {
    expectProblem(await counter.send({ path: '/v1/vouchers', body: {} }), 401, 'credential.unknown')
    const payer = await counter.customer()
    const { session, voucher } = await sessionAt(counter.url, payer)
    for (const [ceiling, kept] of [
      [5n, '5'],
      [9n, '9'],
      [7n, '9'],
    ] as const) {
      const header = voucherHeader(await signVoucher({ ...voucher, ceiling }))
      const headers = sessionRequest(session, { body: {}, path: '/v1/vouchers', voucher: header })
      expect((await counter.send({ path: '/v1/vouchers', body: {}, headers })).json).toMatchObject({ ceiling: kept })
    }
    const none = sessionRequest(session, { body: {}, path: '/v1/vouchers' })
    expectProblem(await counter.send({ path: '/v1/vouchers', body: {}, headers: none }), 400, 'request.malformed')
  })

  it('is charged once for what was delivered when the gateway dies in the middle, at most four steps less', async () => {
    const payer = await counter.customer()
    const meter = await meterOf(payer, 100)
    counter.steps.letThrough(10)
    const reading = read(await meter.inferStream(body(30)))
    await expect.poll(() => counter.steps.given(), PATIENT).toBe(10)
    // What it does when it is started again, or a sibling for it. To the ledger it makes no difference that this one still lives.
    const owner = `gateway:${payer.config.collector}:counter`
    const left = (limit: number) => counter.ledger.leftoverProgress(owner, limit)
    expect(await commitDelivered(counter.ledger, { read: left, log: silent })).toBe(1)
    const { spent, accountReserved } = await standing(payer)
    expect({ spent, accountReserved }).toEqual({ spent: 8n * STEP_PRICE, accountReserved: 0n })
    counter.steps.letThrough(30)
    await expect(reading).rejects.toMatchObject({ code: 'internal' })
    expect((await standing(payer)).spent).toBe(8n * STEP_PRICE)
  })

  it('stops for good at a receipt for more than came, or at steps out of order', async () => {
    const lies: ((text: string) => string)[] = [
      (text) => text.replace(/event: step\ndata: \{"id":"0x[0-9a-f]+","index":2.*\n\n/, ''),
      (text) => text.replace(/event: step\ndata: .*"index":4.*\n\n(?=event: receipt)/, ''),
      (text) => text.replace('mood of text 0', 'mood of text 9'),
      (text) => text.replace(/"steps":5/, '"steps":6'),
      (text) => text.replace(/("charged":")(\d+)/, '$19$2'),
      (text) => text.replace(/("collectorSignature":"0x..)../, '$100'),
      (text) => text.replace(/"path":\[\]/, `"path":["0x${'af'.repeat(32)}"]`),
    ]
    for (const lie of lies) {
      const payer = await counter.customer()
      await using between = await openBetween(counter.url, lie)
      const granary = await Granary.open({ gatewayUrl: between.url, wallet: payer.wallet })
      const meter = await granary.account.meter({ maxPerRequest: 100n * STEP_PRICE })
      await expect(read(await meter.inferStream(body(5)))).rejects.toMatchObject({ code: 'receipt.wrong' })
      await expect(meter.infer(body(1))).rejects.toMatchObject({ code: 'receipt.wrong' })
      await expect(meter.inferStream(body(1))).rejects.toMatchObject({ code: 'receipt.wrong' })
    }
  })

  it('by API key is held against its receipt too', async () => {
    const payer = await counter.customer()
    const { apiKey } = await payer.apiKey()
    expect(await read(await payer.granary.inferStream(body(5), { apiKey }))).toHaveLength(5)
    await using between = await openBetween(counter.url, (text) => text.replace('mood of text 0', 'mood of text 9'))
    const granary = await Granary.open({ gatewayUrl: between.url, wallet: payer.wallet })
    await expect(read(await granary.inferStream(body(5), { apiKey }))).rejects.toMatchObject({ code: 'receipt.wrong' })
    await expect(granary.inferStream(body(5), { apiKey: 'gk_none' })).rejects.toBeInstanceOf(GranaryError)
  })

  async function sessionAt(url: string, payer: Customer) {
    const { facts } = payer.granary.context
    const expiresAt = NOON + 3600
    const draft = await draftSession(facts, { account: payer.config, signer: payer.wallet, expiresAt })
    const headers = { 'content-type': 'application/json' }
    const opened = await fetch(`${url}/v1/sessions`, { method: 'POST', headers, body: JSON.stringify(draft.body) })
    const { sessionId } = (await opened.json()) as { sessionId: string }
    const session = openedSession(facts, draft, sessionId)
    const escrow = { chainId: BigInt(facts.chainId), address: facts.escrow }
    return { session, voucher: { signer: payer.wallet, escrow, accountId: payer.accountId } }
  }
})

/** Whoever sits between client and gateway and changes what is streamed. */
async function openBetween(target: string, change: (text: string) => string) {
  return openHttpServer(async (request, response) => {
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part as Buffer)
    const { host: _, connection: __, 'content-length': ___, ...headers } = request.headers
    const { method = 'GET', url } = request
    const sent = parts.length > 0 ? { body: Buffer.concat(parts) } : {}
    const answer = await fetch(`${target}${url}`, { method, headers: headers as Record<string, string>, ...sent })
    const text = await answer.text()
    const type = answer.headers.get('content-type') ?? ''
    response.writeHead(answer.status, { 'content-type': type })
    response.end(type.startsWith('text/event-stream') ? change(text) : text)
  })
}
