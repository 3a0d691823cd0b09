import { beforeAll, describe, expect, it } from 'vitest'
import { expectCharged, expectUntouched, type Money } from '../support/purse.ts'
import { bearer, type Scene, SPAM_PRICE, spam } from '../support/scene.ts'
import { type OpenSession, sessionRequest } from '../support/session.ts'
import { expectProblem } from '../support/wire.ts'
import { openSession } from './sessions.ts'

const PARALLEL = 64

/** The same request again: answered again, never charged again. */
export function replays(scene: () => Scene): void {
  describe('repeated requests', () => {
    let before: Money
    let session: OpenSession
    const once = () => ({ 'idempotency-key': crypto.randomUUID() })
    beforeAll(async () => {
      await scene().purse.meter.infer(spam('so that the signed ceiling runs ahead'))
      before = await scene().purse.money()
      session = await openSession(scene())
    })

    it('gives the stored answer and receipt to the same API key, Idempotency-Key and body', async () => {
      const { send, apiKey, purse } = scene()
      const request = { body: spam('once'), headers: { ...bearer(apiKey), ...once() } }
      const first = await send(request)
      const second = await send(request)
      expect([first.status, second.status]).toEqual([200, 200])
      expect(second.bytes.equals(first.bytes)).toBe(true)
      expect([first.headers['idempotent-replayed'], second.headers['idempotent-replayed']]).toEqual([undefined, 'true'])
      expectProblem(await send({ ...request, body: spam('twice') }), 409, 'idempotency.conflict')
      await expectCharged(purse, before, SPAM_PRICE)
      before = await purse.money()
    })

    it('gives the stored answer to a session request that somebody recorded and sends again', async () => {
      const { send, purse } = scene()
      const body = spam('recorded')
      const headers = sessionRequest(session, { body })
      const first = await send({ body, headers })
      const second = await send({ body, headers })
      expect([first.status, second.status]).toEqual([200, 200])
      expect(second.bytes.equals(first.bytes)).toBe(true)
      expect(second.headers['idempotent-replayed']).toBe('true')
      expectProblem(await send({ body: spam('swapped'), headers }), 401, 'credential.unknown')
      await expectCharged(purse, before, SPAM_PRICE)
      before = await purse.money()
    })

    it('refuses the same Idempotency-Key for another body of the same session', async () => {
      const { send, purse } = scene()
      const idempotencyKey = crypto.randomUUID()
      for (const [text, status] of [
        ['one', 200],
        ['other', 409],
      ] as const) {
        const body = spam(text)
        expect((await send({ body, headers: sessionRequest(session, { body, idempotencyKey }) })).status).toBe(status)
      }
      await expectCharged(purse, before, SPAM_PRICE)
      before = await purse.money()
    })

    it('runs one of 64 parallel copies, charges one, and gives its answer to all', async () => {
      const { send, apiKey, purse } = scene()
      const request = { body: spam('many'), headers: { ...bearer(apiKey), ...once() } }
      const replies = await Promise.all(Array.from({ length: PARALLEL }, () => send(request)))
      expect(replies.map(({ status }) => status)).toEqual(Array(PARALLEL).fill(200))
      expect(new Set(replies.map(({ bytes }) => bytes.toString())).size).toBe(1)
      await expectCharged(purse, before, SPAM_PRICE)
      before = await purse.money()
    })

    it('keeps an Idempotency-Key for its body, also when that was refused', async () => {
      const { send, apiKey } = scene()
      const headers = { ...bearer(apiKey), ...once() }
      // Refused by the worker, so after the reservation.
      const body = { model: 'silero-vad', inputs: [{ name: 'audio', datatype: 'FP32', shape: [0], data: [] }] }
      for (let repeat = 0; repeat < 3; repeat++) expectProblem(await send({ body, headers }), 400, 'input.invalid')
      expectProblem(await send({ body: spam('now'), headers }), 409, 'idempotency.conflict')
    })

    it('has charged nothing else and left nothing reserved', async () => {
      await expectUntouched(scene().purse, before)
    })
  })
}
