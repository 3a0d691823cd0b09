import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { GranaryError } from '../../services/core/errors.ts'
import { eventsOf, type StreamEvent } from '../../services/sdk/event-stream.ts'
import { bearer } from '../edges/support/scene.ts'
import { expectProblem } from '../edges/support/wire.ts'
import { type Counter, type Customer, openCounter, PRICE, STEP } from './support/counter.ts'

vi.setConfig({ testTimeout: 120_000 })
const PATIENT = { timeout: 30_000 }

const texts = (count: number) => Array.from({ length: count }, (_, index) => `text ${index}`)
const asked = (count: number) => ({ model: 'mood', inputs: { text: texts(count) }, stream: true })
const unitsAfter = (steps: number, count: number) => BigInt(Math.min(count, steps * STEP))

describe('an answer in steps', () => {
  let counter: Counter
  let payer: Customer
  let apiKey: string
  beforeAll(async () => {
    counter = await openCounter({ topUpSeconds: 1 })
    payer = await counter.customer()
    apiKey = (await payer.apiKey()).apiKey
  }, 120_000)
  afterEach(() => {
    counter.steps.reset()
    counter.permit(true)
  })
  afterAll(() => counter?.[Symbol.asyncDispose]())

  const open = async (count: number, { headers = {}, url = counter.url, signal }: Options = {}) => {
    const init = { method: 'POST', headers: { ...bearer(apiKey), 'content-type': 'application/json', ...headers } }
    return fetch(`${url}/v1/infer`, { ...init, body: JSON.stringify(asked(count)), ...(signal ? { signal } : {}) })
  }
  const all = async (response: Response): Promise<StreamEvent[]> => {
    const events: StreamEvent[] = []
    for await (const event of eventsOf(response)) events.push(event)
    return events
  }
  const charged = async (customer = payer) => BigInt((await customer.granary.account.books.usage()).total.charged)
  const reserved = async (customer = payer) =>
    (await counter.ledger.standing(customer.accountId, customer.config.payer))?.accountReserved
  const settled = (customer = payer) => expect.poll(() => reserved(customer), PATIENT).toBe(0n)

  it('is paid for in units delivered: whatever its length and wherever its reader leaves', async () => {
    const run = fc.record({ count: fc.integer({ min: 1, max: 40 }), read: fc.integer({ min: 0, max: 21 }) })
    await fc.assert(
      fc.asyncProperty(run, async ({ count, read }) => {
        const before = await charged()
        const steps = Math.ceil(count / STEP)
        const wanted = Math.min(read, steps)
        counter.steps.letThrough(wanted)
        const leaving = new AbortController()
        let seen = 0
        const reading = (async () => {
          for await (const { event, data } of eventsOf(await open(count, { signal: leaving.signal }))) {
            if (event !== 'step') continue
            seen += 1
            expect(data).toMatchObject({ index: seen - 1, of: steps, units: `${unitsAfter(seen, count)}` })
            if (seen === wanted && wanted < steps) leaving.abort()
          }
        })().catch(() => undefined)
        if (wanted === 0) {
          await expect.poll(() => counter.steps.open(), PATIENT).toBe(1)
          leaving.abort()
        }
        await reading
        expect(seen).toBe(wanted)
        await settled()
        expect(await charged()).toBe(before + unitsAfter(wanted, count) * PRICE)
        expect(counter.steps.open()).toBe(0)
      }),
      { numRuns: 30 },
    )
  }, 120_000)

  it('ends with a receipt that is for all of it, and is asked for with Accept too', async () => {
    const response = await open(7)
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8')
    const events = await all(response)
    expect(events.map(({ event }) => event)).toEqual(['step', 'step', 'step', 'step', 'receipt'])
    expect(events.at(-1)?.data).toMatchObject({ units: '7', charged: `${7n * PRICE}`, steps: 4, of: 4 })
    const { stream: _, ...body } = asked(3)
    const plain = await counter.send({ body, headers: { ...bearer(apiKey), accept: 'text/event-stream' } })
    expect(plain.bytes.toString().match(/^event: .*/gm)).toEqual(['event: step', 'event: step', 'event: receipt'])
    const whole = await counter.send({
      body: { ...body, stream: false },
      headers: { ...bearer(apiKey), accept: 'text/event-stream' },
    })
    expect(whole.json).toMatchObject({ units: '3', charged: `${3n * PRICE}` })
  })

  it('is refused like any other before its first step: unpaid, forbidden, unservable, malformed', async () => {
    const unpaid = expectProblem(await counter.send({ body: asked(7) }), 402, 'payment.required')
    expect(unpaid.accepts).toMatchObject([{ amount: `${7n * PRICE}` }])
    const research = (await payer.apiKey({ purposes: ['research'] })).apiKey
    expectProblem(await counter.send({ body: asked(7), headers: bearer(research) }), 403, 'credential.forbidden')
    expectProblem(await counter.send({ body: { ...asked(1), purpose: 'none' }, headers: bearer(apiKey) }), 400, 'purpose.unknown')
    counter.steps.failAt(0, new GranaryError('provider.refused', 'No consent.'))
    expectProblem(await counter.send({ body: asked(7), headers: bearer(apiKey) }), 451, 'provider.refused')
    counter.permit(false)
    expectProblem(await counter.send({ body: asked(7), headers: bearer(apiKey) }), 451, 'consent.refused')
    await settled()
  })

  it('ends where the provider does, with the reason and the receipt for what came', async () => {
    const before = await charged()
    counter.steps.failAt(3, new GranaryError('provider.gone', 'The worker left while it worked.'))
    const events = await all(await open(20))
    expect(events.map(({ event }) => event)).toEqual(['step', 'step', 'step', 'error', 'receipt'])
    expect(events[3]?.data).toMatchObject({ code: 'provider.gone', status: 503, hint: expect.stringMatching(/receipt/) })
    expect(events[4]?.data).toMatchObject({ steps: 3, of: 10, charged: `${6n * PRICE}` })
    expect(await charged()).toBe(before + 6n * PRICE)
    await settled()
  })

  it('ends with the consent, and what was served before is paid', async () => {
    const before = await charged()
    counter.steps.letThrough(2)
    const events: StreamEvent[] = []
    for await (const event of eventsOf(await open(20))) {
      events.push(event)
      if (events.length === 2) {
        counter.permit(false)
        counter.steps.letThrough(10)
      }
    }
    expect(events.map(({ event }) => event)).toEqual(['step', 'step', 'error', 'receipt'])
    expect(events[2]?.data).toMatchObject({ code: 'consent.refused' })
    expect(await charged()).toBe(before + 4n * PRICE)
  })

  it('waits for a reader that stops, without holding more than a few steps or anyone else', async () => {
    const before = await charged()
    const large = { ...asked(400), inputs: { text: texts(400).map((text) => `large ${text}`) } }
    const init = { method: 'POST', headers: { ...bearer(apiKey), 'content-type': 'application/json' } }
    const leaving = new AbortController()
    const held = await fetch(`${counter.url}/v1/infer`, { ...init, body: JSON.stringify(large), signal: leaving.signal })
    // Nobody reads: the connection takes some megabytes of 40, and then no more.
    await expect.poll(() => counter.steps.given(), PATIENT).toBeGreaterThan(1)
    for (let others = 0; others < 20; others += 1) expect((await all(await open(3))).at(-1)).toMatchObject({ event: 'receipt' })
    const given = counter.steps.given() - 40
    expect(given).toBeLessThan(150)
    expect(counter.steps.farthestAhead()).toBeLessThanOrEqual(4)
    leaving.abort()
    await held.body?.cancel().catch(() => undefined)
    await settled()
    const paid = (await charged()) - before - 60n * PRICE
    expect(paid).toBeLessThanOrEqual(BigInt(given * STEP) * PRICE)
  })

  it('ends with its receipt when the gateway stops, which waits for that', async () => {
    const before = await charged()
    const other = await counter.beside()
    counter.steps.letThrough(3)
    const events = eventsOf(await open(20, { url: other.url }))
    for (let seen = 0; seen < 3; seen += 1) expect((await events.next()).value).toMatchObject({ event: 'step' })
    const stopped = other[Symbol.asyncDispose]()
    expect((await events.next()).value).toMatchObject({ event: 'error', data: { code: 'gateway.unreachable' } })
    expect((await events.next()).value).toMatchObject({ event: 'receipt', data: { steps: 3, charged: `${6n * PRICE}` } })
    await stopped
    expect(await charged()).toBe(before + 6n * PRICE)
  })

  it('reserves as it goes: never the whole, and to the unit what a small budget has', async () => {
    const poor = await payer.apiKey({ limits: { budgetPerDay: 11n * PRICE + 1n } })
    counter.steps.letThrough(1)
    const response = await open(60, { headers: bearer(poor.apiKey) })
    await expect.poll(() => reserved(), PATIENT).toBeGreaterThan(0n)
    expect(await reserved()).toBeLessThanOrEqual(18n * PRICE)
    counter.steps.letThrough(30)
    const events = await all(response)
    expect(events.slice(-2).map(({ event }) => event)).toEqual(['error', 'receipt'])
    expect(events.at(-2)?.data).toMatchObject({ code: 'budget.exhausted', limit: 'budgetPerDay' })
    expect(events.at(-1)?.data).toMatchObject({ charged: `${10n * PRICE}`, steps: 5, of: 30 })
  })

  it('signs ahead for an API key up to its cap, and says what was short when that is used up', async () => {
    const capped = await payer.apiKey({ cap: 13n * PRICE })
    const events = await all(await open(60, { headers: bearer(capped.apiKey) }))
    expect(events.at(-2)?.data).toMatchObject({ code: 'payment.insufficient', limit: 'cap' })
    expect(events.at(-1)?.data).toMatchObject({ charged: `${12n * PRICE}`, steps: 6, of: 30 })
  })

  it('given again for the same Idempotency-Key costs nothing, cut short or whole; whole and streamed are two requests', async () => {
    const headers = { 'idempotency-key': crypto.randomUUID() }
    counter.steps.failAt(2, new GranaryError('provider.gone', 'Gone.'))
    const first = await all(await open(20, { headers }))
    const before = await charged()
    const again = await open(20, { headers })
    expect(again.headers.get('idempotent-replayed')).toBe('true')
    const [step, receipt] = await all(again)
    expect(step?.data).toMatchObject({
      units: '4',
      outputs: [
        { name: 'label', shape: [4] },
        { name: 'embedding', shape: [4, 3] },
      ],
    })
    const { steps: _, of: __, ...kept } = (first.at(-1)?.data ?? {}) as Record<string, unknown>
    expect(receipt?.data).toEqual({ ...kept, steps: 1, of: 1 })
    const whole = await counter.send({ body: { ...asked(20), stream: false }, headers: { ...bearer(apiKey), ...headers } })
    expectProblem(whole, 409, 'idempotency.conflict')
    expect(await charged()).toBe(before)
  })

  it('of a model without steps comes as one', async () => {
    const body = { ...asked(9), model: counter.models.impostor }
    const { bytes } = await counter.send({ body, headers: bearer(apiKey) })
    expect(bytes.toString().match(/^event: .*/gm)).toEqual(['event: step', 'event: receipt'])
  })

  interface Options {
    headers?: Record<string, string>
    url?: string
    signal?: AbortSignal
  }
})
