import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import OpenAI, { APIError, AuthenticationError, ConflictError, RateLimitError } from 'openai'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { type Counter, type Customer, openCounter, PRICE, WIDTH } from './support/counter.ts'

// A busy machine takes its time.
vi.setConfig({ testTimeout: 120_000 })

const run = promisify(execFile)

/** Clients that nobody here wrote: they know a URL and a key, and nothing else. */
describe('the openai client, as it is', () => {
  let counter: Counter
  let payer: Customer
  let apiKey: string
  let client: OpenAI
  beforeAll(async () => {
    counter = await openCounter()
    payer = await counter.customer()
    apiKey = (await payer.apiKey()).apiKey
    client = clientOf(apiKey)
  }, 120_000)
  afterAll(() => counter?.[Symbol.asyncDispose]())

  const clientOf = (key: string, maxRetries = 0) => new OpenAI({ apiKey: key, baseURL: `${counter.url}/v1`, maxRetries })
  const charged = async () => BigInt((await payer.granary.account.books.usage()).total.charged)

  it('lists the models, and gets one', async () => {
    const models = []
    for await (const model of client.models.list()) models.push(model)
    expect(models.map(({ id, object, owned_by }) => [id, object, owned_by])).toEqual(
      expect.arrayContaining([
        ['mood', 'model', 'tests'],
        ['vector', 'model', 'tests'],
        // The name is taken: this one goes by its id.
        [counter.models.impostor, 'model', 'tests'],
      ]),
    )
    expect(await client.models.retrieve('vector')).toMatchObject({ id: 'vector', object: 'model', created: 101 })
  })

  it('gets embeddings by default, which it asks for in base64, and the same as floats', async () => {
    const before = await charged()
    const input = ['four', 'a longer text']
    const decoded = await client.embeddings.create({ model: 'vector', input })
    const floats = await client.embeddings.create({ model: 'vector', input, encoding_format: 'float' })
    const expected = [
      [4, Math.fround(0.1), -1.5],
      [13, Math.fround(0.1), -1.5],
    ]
    expect(decoded.data.map(({ embedding }) => [...embedding])).toEqual(expected)
    expect(floats.data.map(({ embedding }) => embedding)).toEqual(expected)
    expect(decoded.data.map(({ index, object }) => [index, object])).toEqual([
      [0, 'embedding'],
      [1, 'embedding'],
    ])
    expect(decoded).toMatchObject({ object: 'list', model: 'vector', usage: { prompt_tokens: 2, total_tokens: 2 } })
    expect(await charged()).toBe(before + 4n * PRICE)
  })

  it('asks for base64 on the wire, so that an answer in floats would reach it empty', async () => {
    let sent = ''
    const spied = new OpenAI({
      apiKey,
      baseURL: `${counter.url}/v1`,
      fetch: (url, init) => {
        sent = String(init?.body)
        return fetch(url, init)
      },
    })
    const { data } = await spied.embeddings.create({ model: 'vector', input: 'one' })
    expect(JSON.parse(sent)).toMatchObject({ encoding_format: 'base64' })
    expect(data[0]?.embedding).toHaveLength(WIDTH)
  })

  it('repeats with an Idempotency-Key and is charged once', async () => {
    const before = await charged()
    const headers = { 'Idempotency-Key': crypto.randomUUID() }
    const ask = () => client.embeddings.create({ model: 'vector', input: 'once' }, { headers }).withResponse()
    const [first, second] = [await ask(), await ask()]
    expect(second.data).toEqual(first.data)
    expect([first, second].map(({ response }) => response.headers.get('idempotent-replayed'))).toEqual([null, 'true'])
    expect(await charged()).toBe(before + PRICE)
    const other = client.embeddings.create({ model: 'vector', input: 'other' }, { headers })
    await expect(other).rejects.toBeInstanceOf(ConflictError)
  })

  it('buys any other inference through its generic post', async () => {
    const body = { model: 'mood', inputs: { text: 'hello' } }
    const answer = await client.post<{ charged: string; outputs: { name: string }[] }>('/infer', { body })
    expect(answer).toMatchObject({ charged: PRICE.toString(), outputs: [{ name: 'label' }, {}] })
  })

  it('gets its own error classes, with a message and a code', async () => {
    const ask = (options: { key?: string; model?: string; input?: string | number[]; dimensions?: number }) => {
      const { key = apiKey, model = 'vector', input = 'x', ...more } = options
      return clientOf(key)
        .embeddings.create({ model, input, ...more })
        .catch((error: unknown) => error)
    }
    expect(await ask({ key: 'sk-none' })).toBeInstanceOf(AuthenticationError)
    expect(await ask({ key: 'sk-none' })).toMatchObject({
      status: 401,
      code: 'credential.unknown',
      type: 'invalid_request_error',
    })
    expect(await ask({ model: 'nobody' })).toMatchObject({ status: 404, code: 'model.unknown' })
    expect(await ask({ model: 'mood' })).toMatchObject({
      status: 400,
      code: 'input.invalid',
      message: expect.stringContaining('mood'),
    })
    expect(await ask({ dimensions: 5 })).toMatchObject({ status: 400, code: 'input.invalid' })
    expect(await ask({ input: [1, 2, 3] })).toMatchObject({ status: 400, code: 'request.malformed' })
    const poor = await payer.apiKey({ limits: { budgetPerDay: PRICE - 1n, requestsPerMinute: 1 } })
    const broke = await ask({ key: poor.apiKey })
    expect(broke).toBeInstanceOf(APIError)
    expect(broke).toMatchObject({ status: 402, code: 'budget.exhausted' })
    const slow = await payer.apiKey({ limits: { requestsPerMinute: 1 } })
    await ask({ key: slow.apiKey })
    expect(await ask({ key: slow.apiKey })).toBeInstanceOf(RateLimitError)
  })

  it('is held to the scope of its key, whose first purpose and place stand for those it can’t name', async () => {
    const scoped = await payer.apiKey({ models: ['vector'], purposes: ['research', 'education'], jurisdictions: ['DE'] })
    const { data, granary } = (await clientOf(scoped.apiKey).embeddings.create({ model: 'vector', input: 'x' })) as unknown as {
      data: unknown[]
      granary: { receipt: { job: { purpose: number } } }
    }
    expect(data).toHaveLength(1)
    expect(granary.receipt.job.purpose).toBe(0)
    const refused = clientOf(scoped.apiKey).post('/infer', { body: { model: 'mood', inputs: { text: 'x' } } })
    await expect(refused).rejects.toMatchObject({ status: 403 })
  })

  it('runs 64 in parallel without a failure, each charged once', async () => {
    const before = await charged()
    const answers = await Promise.all(
      Array.from({ length: 64 }, (_, index) => client.embeddings.create({ model: 'vector', input: 'x'.repeat(index + 1) })),
    )
    expect(answers.map(({ data }) => data[0]?.embedding[0])).toEqual(Array.from({ length: 64 }, (_, index) => index + 1))
    expect(await charged()).toBe(before + 64n * PRICE)
  })

  it('is not the only one: curl needs nothing but the header', async () => {
    const headers = ['-H', `authorization: Bearer ${apiKey}`, '-H', 'content-type: application/json']
    const curl = async (path: string, ...more: string[]) =>
      (await run('curl', ['-sS', '--max-time', '20', `${counter.url}${path}`, ...headers, ...more])).stdout
    const paid = await curl('/v1/infer', '-d', JSON.stringify({ model: 'mood', inputs: { text: 'by curl' } }))
    expect(JSON.parse(paid)).toMatchObject({ charged: PRICE.toString() })
    const vectors = await curl('/v1/embeddings', '-d', JSON.stringify({ model: 'vector', input: 'abc' }))
    expect(JSON.parse(vectors).data[0].embedding).toEqual([3, Math.fround(0.1), -1.5])
    expect(await curl('/v1/usage?format=csv')).toMatch(/^day,key,/)
    expect(await curl('/v1/bill')).toMatch(/^<!doctype html>/)
    const unpaid = await run('curl', ['-sS', '-i', `${counter.url}/v1/infer`, '-H', 'content-type: application/json', '-d', '{}'])
    expect(unpaid.stdout).toMatch(/^HTTP\/1\.1 400 /)
  })
})
