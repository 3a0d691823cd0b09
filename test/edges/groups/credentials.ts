import { beforeAll, describe, expect, it } from 'vitest'
import { DOLLAR, expectCharged, expectUntouched, type Money, openPurse } from '../support/purse.ts'
import { bearer, type Scene, SPAM_PRICE, spam, untilAccepted } from '../support/scene.ts'
import { expectProblem } from '../support/wire.ts'

/** Requests that nobody pays for, and API keys that do not reach so far. */
export function credentials(scene: () => Scene): void {
  describe('credentials', () => {
    let before: Money
    const createKey = (options: object) =>
      scene().purse.person.granary.account.createApiKey({ cap: DOLLAR, lifeSeconds: 3600, label: 'edges', ...options })
    beforeAll(async () => {
      before = await scene().purse.money()
    })

    it('answers an unpaid request with 402, the price of this very request, and the same in a header', async () => {
      const { send, facts } = scene()
      const reply = await send({ body: spam(['one', 'two', 'three']) })
      const problem = expectProblem(reply, 402, 'payment.required')
      expect(problem).toMatchObject({
        x402Version: 2,
        error: problem.detail,
        resource: { url: `${scene().stage.gatewayUrl}/v1/infer`, mimeType: 'application/json' },
        accepts: [
          { scheme: 'exact', amount: (3n * SPAM_PRICE).toString(), asset: facts.token },
          {
            scheme: 'granary-meter',
            network: `eip155:${facts.chainId}`,
            amount: (3n * SPAM_PRICE).toString(),
            asset: facts.token,
            payTo: facts.escrow,
            extra: { units: '3', unitPrice: SPAM_PRICE.toString(), collector: facts.collector, gatewayKey: facts.gatewayKey },
          },
        ],
      })
      const header = reply.headers['payment-required']
      expect(JSON.parse(Buffer.from(String(header), 'base64').toString('utf8'))).toEqual(reply.json)
    })

    for (const [what, authorization] of Object.entries({
      'an API key of another form': 'Bearer gk_1_2',
      'an API key that nobody was given': `Bearer gk_${'0'.repeat(18)}_${'0'.repeat(64)}`,
      'an API key with a space inside': 'Bearer gk_ 1',
      'a scheme of another kind': 'Basic dXNlcjpwYXNz',
      'no scheme': 'gk',
      'a scheme and nothing after it': 'Bearer',
    })) {
      it(`refuses ${what} as credential.unknown`, async () => {
        expectProblem(await scene().send({ body: spam('hi'), headers: { authorization } }), 401, 'credential.unknown')
      })
    }

    it('refuses a good API key with another secret, and one longer than any', async () => {
      const { send, apiKey } = scene()
      const other = `${apiKey.slice(0, -1)}${apiKey.endsWith('0') ? '1' : '0'}`
      expectProblem(await send({ body: spam('hi'), headers: bearer(other) }), 401, 'credential.unknown')
      const reply = await send({ body: spam('hi'), headers: bearer(`${apiKey}${'0'.repeat(5000)}`) })
      expectProblem(reply, 400, 'request.malformed')
    })

    it('refuses an Idempotency-Key that is too long or has spaces', async () => {
      const { send, apiKey } = scene()
      for (const key of ['x'.repeat(129), 'a b', '']) {
        const reply = await send({ body: spam('hi'), headers: { ...bearer(apiKey), 'idempotency-key': key } })
        expectProblem(reply, 400, 'request.malformed')
      }
    })

    it('refuses an API key outside its models and purposes, and serves it inside', async () => {
      const { send, purse } = scene()
      const { apiKey } = await createKey({ models: ['spam-classifier'], purposes: ['research'] })
      const inside = { ...spam('hello'), purpose: 'research' }
      const start = await purse.money()
      await untilAccepted(scene(), apiKey, inside)
      expectProblem(
        await send({ body: { ...inside, purpose: 'education' }, headers: bearer(apiKey) }),
        403,
        'credential.forbidden',
      )
      const another = { model: 'silero-vad', purpose: 'research', inputs: { audio: [0, 0] } }
      expectProblem(await send({ body: another, headers: bearer(apiKey) }), 403, 'credential.forbidden')
      await expectCharged(purse, start, SPAM_PRICE)
      before = await purse.money()
    })

    it('refuses a revoked API key as credential.ended', async () => {
      const { send, purse } = scene()
      const { apiKey, keyId } = await createKey({})
      await purse.meter.revokeApiKey(keyId)
      expectProblem(await send({ body: spam('hi'), headers: bearer(apiKey) }), 401, 'credential.ended')
    })

    it('stops an API key at its cap, to the unit', async () => {
      const { send, purse } = scene()
      const start = await purse.money()
      const { apiKey } = await createKey({ cap: 2n * SPAM_PRICE + 1n })
      await untilAccepted(scene(), apiKey)
      expect((await send({ body: spam('hi'), headers: bearer(apiKey) })).status).toBe(200)
      const problem = expectProblem(await send({ body: spam('hi'), headers: bearer(apiKey) }), 402, 'payment.insufficient')
      expect(problem).toMatchObject({ limit: 'cap', available: '1', required: SPAM_PRICE.toString(), x402Version: 2 })
      await expectCharged(purse, start, 2n * SPAM_PRICE, 2)
      before = await purse.money()
    })

    it('stops an account at its deposit, to the unit', async () => {
      const poor = await openPurse(scene().stage.world, SPAM_PRICE - 1n)
      const refused = await poor.meter.infer(spam('hi')).catch((error: unknown) => error)
      expect(refused).toMatchObject({
        code: 'payment.insufficient',
        evidence: { limit: 'deposit', available: (SPAM_PRICE - 1n).toString(), required: SPAM_PRICE.toString() },
      })
      expect(await poor.money()).toEqual({ charged: 0n, reserved: 0n, lines: 0, deposit: SPAM_PRICE - 1n })
    })

    it('has charged nothing else and left nothing reserved', async () => {
      await expectUntouched(scene().purse, before)
    })
  })
}
