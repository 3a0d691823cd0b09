import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { Granary } from '../../services/sdk/granary.ts'
import { bearer } from '../edges/support/scene.ts'
import { expectProblem, openWire, type Reply } from '../edges/support/wire.ts'
import { type Counter, type Customer, masterKey, NOON, openCounter, PRICE } from './support/counter.ts'

const DAY = 86_400
const mood = (text: string | string[] = 'hello') => ({ model: 'mood', inputs: { text } })

vi.setConfig({ testTimeout: 120_000 })
/** For a machine that is busy with other things. */
const PATIENT = { timeout: 30_000 }

describe('API keys', () => {
  let counter: Counter
  let payer: Customer
  beforeAll(async () => {
    counter = await openCounter()
    payer = await counter.customer()
  }, 120_000)
  afterEach(() => counter.openGate())
  afterAll(() => counter?.[Symbol.asyncDispose]())

  const buy = (apiKey: string, body: unknown = mood(), headers: Record<string, string> = {}) =>
    counter.send({ body, headers: { ...bearer(apiKey), ...headers } })

  it('is all that a client needs, and of its secret only a hash is stored', async () => {
    const { apiKey, keyId } = await payer.apiKey()
    expect(apiKey).toMatch(/^gk_[0-9a-f]{18}_[0-9a-f]{64}$/)
    expect((await buy(apiKey)).json).toMatchObject({ charged: PRICE.toString() })
    const stored = await counter.ledger.apiKey(keyId)
    expect(JSON.stringify(stored)).not.toContain(apiKey.split('_')[2])
  })

  it('lists what each key may do and has spent, without secrets', async () => {
    const scope = { models: ['mood'], purposes: ['research'], jurisdictions: ['DE'], limits: { budgetPerDay: 10n * PRICE } }
    const { apiKey, keyId, key } = await payer.apiKey({ label: 'listed', cap: 5n * PRICE, ...scope })
    expect((await buy(apiKey, { ...mood(), purpose: 'research', jurisdiction: 'DE' })).status).toBe(200)
    const listed = (await payer.granary.account.apiKeys()).find((one) => one.keyId === keyId)
    expect(listed).toEqual({
      keyId,
      key,
      label: 'listed',
      models: [counter.models.mood],
      purposes: ['research'],
      jurisdictions: ['DE'],
      createdAt: NOON,
      endsAt: null,
      revoked: false,
      cap: (5n * PRICE).toString(),
      spent: PRICE.toString(),
      notAfter: NOON + 90 * DAY,
      limits: {
        requestsPerMinute: null,
        parallel: null,
        budgetPerDay: (10n * PRICE).toString(),
        budgetPerMonth: null,
        spentToday: PRICE.toString(),
        spentThisMonth: PRICE.toString(),
        dayResetsAt: NOON + DAY / 2,
        monthResetsAt: Date.UTC(2026, 11, 1) / 1000,
      },
    })
  })

  it('refuses scope bypass by another model of the same name, by purpose, place, header, query or doubled fields', async () => {
    const { apiKey } = await payer.apiKey({ models: ['mood'], purposes: ['research'], jurisdictions: ['DE', 'FR'] })
    const good = { ...mood(), purpose: 'research', jurisdiction: 'FR' }
    expect((await buy(apiKey, good)).status).toBe(200)
    expect((await buy(apiKey, { ...good, model: counter.models.mood })).status).toBe(200)
    const before = counter.jobs()
    const refused: unknown[] = [
      { ...good, model: counter.models.impostor },
      { ...good, model: 'vector' },
      { ...good, model: counter.models.vector },
      { ...good, purpose: 'education' },
      { ...mood(), jurisdiction: 'DE' },
      { ...good, jurisdiction: 'US' },
      { ...mood(), purpose: 'research' },
      '{"model":"mood","inputs":{"text":"x"},"jurisdiction":"DE","purpose":"research","purpose":"advertising"}',
      '{"model":"mood","model":"vector","inputs":{"text":"x"},"jurisdiction":"DE","purpose":"research"}',
    ]
    for (const body of refused) expectProblem(await buy(apiKey, body), 403, 'credential.forbidden')
    const education = { ...good, purpose: 'education' }
    const headers = { 'granary-purpose': 'research', 'x-purpose': 'research', purpose: 'research' }
    expectProblem(await buy(apiKey, education, headers), 403, 'credential.forbidden')
    const path = '/v1/infer?purpose=research&model=mood'
    expectProblem(await counter.send({ path, body: education, headers: bearer(apiKey) }), 403, 'credential.forbidden')
    for (const purpose of ['Research', 'research ', 'research\u0000', 'rese\u0430rch']) {
      expectProblem(await buy(apiKey, { ...good, purpose }), 400, 'purpose.unknown')
    }
    const vectors = { model: 'vector', input: 'x' }
    expectProblem(
      await counter.send({ path: '/v1/embeddings', body: vectors, headers: bearer(apiKey) }),
      403,
      'credential.forbidden',
    )
    expect(counter.jobs()).toBe(before)
  })

  it('makes no key for a model that nobody sells, before anything is granted', async () => {
    await expect(payer.apiKey({ models: ['nobody'] })).rejects.toMatchObject({ code: 'model.unknown' })
    await expect(payer.apiKey({ jurisdictions: ['XX'] })).rejects.toMatchObject({ code: 'request.malformed' })
  })

  it('answers an unknown id, a wrong secret and a wrong secret of a revoked key alike (no key enumeration)', async () => {
    const { apiKey, keyId } = await payer.apiKey()
    const other = await payer.apiKey()
    await payer.granary.account.revokeApiKey(other.keyId)
    const secret = apiKey.split('_')[2] ?? ''
    const flipped = `${secret.slice(0, -1)}${secret.endsWith('0') ? '1' : '0'}`
    const replies = await Promise.all(
      [
        `gk_${'f'.repeat(18)}_${secret}`,
        `gk_${keyId}_${flipped}`,
        `gk_${keyId}_${'0'.repeat(64)}`,
        `gk_${other.keyId}_${secret}`,
      ].map((token) => buy(token)),
    )
    for (const reply of replies) expectProblem(reply, 401, 'credential.unknown')
    expect(new Set(replies.map(({ bytes }) => bytes.toString())).size).toBe(1)
    expectProblem(await buy(other.apiKey), 401, 'credential.ended')
  })

  it('stops a revoked key in the middle of use: what runs is finished, nothing new begins', async () => {
    const { apiKey, keyId } = await payer.apiKey()
    const gate = counter.closeGate()
    const running = Array.from({ length: 8 }, () => buy(apiKey))
    await expect.poll(gate.jobs, PATIENT).toBe(8)
    expect(await payer.granary.account.revokeApiKey(keyId)).toMatchObject({ onChain: true })
    const late = await Promise.all(Array.from({ length: 16 }, () => buy(apiKey)))
    for (const reply of late) expectProblem(reply, 401, 'credential.ended')
    gate.open()
    expect((await Promise.all(running)).map(({ status }) => status)).toEqual(Array(8).fill(200))
    expect(gate.jobs()).toBe(8)
  })

  it('ends a key that another gateway of the operator has revoked, while it is in use, within a moment', async () => {
    await using sibling = await counter.beside()
    const { apiKey, keyId } = await payer.apiKey()
    const there = openWire(sibling.url)
    const buyThere = () => there({ body: mood(), headers: bearer(apiKey) })
    expect((await buyThere()).status).toBe(200)
    await payer.granary.account.revokeApiKey(keyId)
    await expect.poll(async () => (await buyThere()).status, PATIENT).toBe(401)
    expectProblem(await buyThere(), 401, 'credential.ended')
  })

  it('rotates a key: same scope, cap and limits under a new secret, the old one as long as asked', async () => {
    const { apiKey, keyId, key } = await payer.apiKey({ models: ['mood'], limits: { budgetPerDay: 3n * PRICE } })
    expect((await buy(apiKey)).status).toBe(200)
    const rotated = await payer.granary.account.rotateApiKey(keyId, { graceSeconds: 600 })
    expect(rotated).toMatchObject({ key, replacedEndsAt: NOON + 600 })
    expect((await buy(apiKey)).status).toBe(200)
    expect((await buy(rotated.apiKey)).status).toBe(200)
    expectProblem(await buy(rotated.apiKey), 402, 'budget.exhausted')
    expectProblem(await buy(rotated.apiKey, { model: 'vector', inputs: { text: 'x' } }), 403, 'credential.forbidden')
    counter.setTime(NOON + 600)
    expectProblem(await buy(apiKey), 401, 'credential.ended')
    counter.setTime(NOON)
    await expect(payer.granary.account.rotateApiKey(keyId)).rejects.toMatchObject({ code: 'credential.ended' })
  })

  it('gives the new secret again where the answer to a rotation was lost, and to nobody else', async () => {
    const { keyId, key } = await payer.apiKey()
    let isLost = true
    const losing: typeof fetch = async (input, init) => {
      const answer = await fetch(input, init)
      if (!isLost || !String(input).endsWith('/rotate')) return answer
      isLost = false
      throw new TypeError('The connection was lost.')
    }
    const granary = await Granary.open({ gatewayUrl: counter.url, wallet: payer.wallet, fetch: losing })
    const rotated = await granary.account.rotateApiKey(keyId)
    expect(isLost).toBe(false)
    expect(rotated).toMatchObject({ key, replacedEndsAt: NOON })
    expect((await buy(rotated.apiKey)).status).toBe(200)
    await expect(granary.account.rotateApiKey(keyId)).rejects.toMatchObject({ code: 'credential.ended' })
    const { apiKey } = await granary.account.rotateApiKey(rotated.keyId)
    expect(apiKey).not.toBe(rotated.apiKey)
  })

  it('keeps an escrow key on chain while another API key uses it', async () => {
    const { keyId } = await payer.apiKey()
    const next = await payer.granary.account.rotateApiKey(keyId)
    expect(await payer.granary.account.revokeApiKey(keyId)).toMatchObject({ onChain: false })
    expect((await buy(next.apiKey)).status).toBe(200)
    expect(await payer.granary.account.revokeApiKey(next.keyId)).toMatchObject({ onChain: true })
  })

  it('lets nobody but the payer list, rotate, limit or revoke, and no payer touch another account’s key', async () => {
    const { apiKey, keyId } = await payer.apiKey()
    for (const [method, path] of [
      ['GET', '/v1/keys'],
      ['POST', `/v1/keys/${keyId}/rotate`],
      ['POST', `/v1/keys/${keyId}/limits`],
      ['POST', '/v1/account/limits'],
      ['DELETE', `/v1/keys/${keyId}`],
    ] as const) {
      const body = method === 'POST' ? {} : undefined
      const asKey = await counter.send({ method, path, headers: bearer(apiKey), ...(body ? { body } : {}) })
      expectProblem(asKey, 403, 'credential.forbidden')
      expectProblem(await counter.send({ method, path, ...(body ? { body } : {}) }), 401, 'credential.unknown')
    }
    const stranger = await counter.customer()
    for (const act of [
      () => stranger.granary.account.revokeApiKey(keyId),
      () => stranger.granary.account.rotateApiKey(keyId),
      () => stranger.granary.account.setLimits(keyId, {}),
    ]) {
      await expect(act()).rejects.toMatchObject({ code: 'credential.unknown' })
    }
    expect((await buy(apiKey)).status).toBe(200)
  })

  it('never passes a budget under 64 parallel requests over two gateways (no budget leak)', async () => {
    const { apiKey } = await payer.apiKey({ limits: { budgetPerDay: 10n * PRICE + 1n } })
    await using second = await counter.beside()
    const ask = (url: string) =>
      fetch(`${url}/v1/infer`, {
        method: 'POST',
        headers: { ...bearer(apiKey), 'content-type': 'application/json' },
        body: JSON.stringify(mood()),
      })
    const replies = await Promise.all(Array.from({ length: 64 }, (_, i) => ask(i % 2 === 0 ? counter.url : second.url)))
    const refused = replies.filter(({ status }) => status !== 200)
    expect(replies.length - refused.length).toBe(10)
    for (const reply of refused) {
      expect([reply.status, reply.headers.get('content-type')]).toEqual([402, 'application/problem+json; charset=utf-8'])
      expect(await reply.json()).toMatchObject({
        code: 'budget.exhausted',
        limit: 'budgetPerDay',
        of: 'key',
        most: (10n * PRICE + 1n).toString(),
        resetsAt: NOON + DAY / 2,
        x402Version: 2,
      })
    }
    counter.setTime(NOON + DAY / 2)
    expect((await buy(apiKey)).status).toBe(200)
    counter.setTime(NOON)
  })

  it('holds parallel requests and requests a minute of a key and of the account, and says when to come again', async () => {
    const owner = await counter.customer()
    const { apiKey } = await owner.apiKey({ limits: { parallel: 4 } })
    const gate = counter.closeGate()
    const refused: Reply[] = []
    const replies = Array.from({ length: 64 }, async () => {
      const reply = await buy(apiKey)
      if (reply.status !== 200) refused.push(reply)
      return reply.status
    })
    await expect.poll(() => refused.length, PATIENT).toBe(60)
    gate.open()
    expect((await Promise.all(replies)).filter((status) => status === 200)).toHaveLength(4)
    for (const reply of refused) expectProblem(reply, 429, 'parallel.limited')
    await owner.granary.account.setLimits(null, { requestsPerMinute: 6 })
    expect((await buy(apiKey)).status).toBe(200)
    for (let request = 0; request < 5; request++) await buy(apiKey)
    const limited = expectProblem(await buy(apiKey), 429, 'rate.limited')
    expect(limited).toMatchObject({ limit: 'requestsPerMinute', of: 'account', most: '6', resetsAt: NOON + 60 })
    expect((await buy(apiKey)).headers['retry-after']).toBe('60')
    counter.setTime(NOON + 60)
    expect((await buy(apiKey)).status).toBe(200)
    counter.setTime(NOON)
  })

  it('writes no secret into a log: neither tokens, nor keys, nor inputs', async () => {
    const { apiKey, keyId, key } = await payer.apiKey({ label: 'secretive' })
    const idempotencyKey = crypto.randomUUID()
    await buy(apiKey, mood('a very private text'), { 'idempotency-key': idempotencyKey })
    await buy(`${apiKey}0`)
    await buy(apiKey.replace('gk_', 'gk-'))
    await buy(apiKey, '{"model": broken')
    await payer.granary.account.rotateApiKey(keyId)
    const sealed = (await counter.ledger.apiKeys(payer.accountId)).find((one) => one.key === key)?.sealedPrivateKey ?? 'none'
    const log = counter.logged()
    expect(log).toContain('request.committed')
    const secrets = [
      apiKey,
      apiKey.split('_')[2] ?? 'none',
      sealed,
      idempotencyKey,
      'a very private text',
      masterKey('a1').toString('hex'),
    ]
    for (const secret of secrets) expect(log).not.toContain(secret)
  })
})
