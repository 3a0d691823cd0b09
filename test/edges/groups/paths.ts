import { beforeAll, describe, expect, it } from 'vitest'
import { expectUntouched, type Money } from '../support/purse.ts'
import { bearer, type Scene, SPAM_PRICE, spam } from '../support/scene.ts'

const waysThere = [
  '//v1/infer',
  '/v1//infer',
  '/v1/infer/',
  '/v1/infer?free=1',
  '/v1/infer;free',
  '/v1/infer#free',
  '/v1/./infer',
  '/v1/models/../infer',
  '/v1/%2e/infer',
  '/v1/models/%2e%2e/infer',
  '/v1%2finfer',
  '/v1/%69nfer',
  '/v1/infe%72%00',
  '/V1/INFER',
  '/v1/Infer',
  '/v1/infer%20',
  'http://127.0.0.1/v1/infer',
  'http://elsewhere.example/v1/infer',
  '*',
]
const otherMethods = ['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'PROPFIND']

/** Whatever the way to it is written as: the paid route gives no answer to those who do not pay. */
export function paths(scene: () => Scene): void {
  describe('ways around the paid route', () => {
    let before: Money
    beforeAll(async () => {
      before = await scene().purse.money()
    })

    for (const path of waysThere) {
      it(`POST ${path} without a credential is no answer`, async () => {
        const reply = await scene().send({ path, body: spam('hi') })
        expect([400, 402, 404]).toContain(reply.status)
        expect(reply.headers['content-type']).toMatch(/^application\/(problem\+)?json/)
        expect(reply.json.outputs).toBeUndefined()
        if (reply.status === 402) expect(reply.json.accepts).toMatchObject(Array(2).fill({ amount: SPAM_PRICE.toString() }))
      })
    }

    for (const method of otherMethods) {
      it(`${method} /v1/infer is no answer, with or without a credential`, async () => {
        const { send, apiKey } = scene()
        for (const headers of [{}, bearer(apiKey), { ...bearer(apiKey), 'x-http-method-override': 'POST' }]) {
          const reply = await send({ method, headers, ...(method === 'GET' || method === 'HEAD' ? {} : { body: spam('hi') }) })
          expect(reply.status).toBeGreaterThanOrEqual(400)
          expect(reply.status).toBeLessThan(500)
          expect(reply.json.outputs).toBeUndefined()
        }
      })
    }

    it('asks for money under another method name too', async () => {
      const { send } = scene()
      const reply = await send({ body: spam('hi'), headers: { 'x-http-method-override': 'GET', 'x-original-url': '/v1/models' } })
      expect(reply.status).toBe(402)
    })

    it('has charged nothing and left nothing reserved', async () => {
      await expectUntouched(scene().purse, before)
    })
  })
}
