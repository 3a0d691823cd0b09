import { beforeAll, describe, expect, it } from 'vitest'
import { insist } from '../support/patience.ts'
import { expectCharged, expectUntouched, type Money } from '../support/purse.ts'
import { bearer, type Scene, SPAM_PRICE, spam } from '../support/scene.ts'
import { expectProblem } from '../support/wire.ts'

const FROZEN_MS = 4500

/** A chain that does not answer: on consent that may be old, nothing is sold. */
export function lostChain(scene: () => Scene): void {
  describe('a chain that is down', () => {
    let before: Money
    beforeAll(async () => {
      before = await scene().purse.money()
    })

    it('answers 503 consent.stale to payers and others, serves nothing, and goes on when blocks come again', async () => {
      const { send, purse, stage, apiKey } = scene()
      const headers = bearer(apiKey)
      const gateway = stage.pid('gateway')
      const frozen = performance.now()
      process.kill(stage.pid('chain'), 'SIGSTOP')
      try {
        let late = await send({ body: spam('frozen'), headers })
        const charged = late.status === 200 ? SPAM_PRICE : 0n
        for (let more = 1; late.status === 200 && more < 500; more++) {
          late = await send({ body: spam('frozen'), headers: { ...headers, 'idempotency-key': 'frozen' } })
        }
        expect(charged).toBeLessThanOrEqual(SPAM_PRICE)
        expect(['consent.stale', 'chain.unavailable']).toContain(late.json.code)
        expectProblem(late, 503, late.json.code as 'consent.stale')
        before = await purse.money()
        const unpaid = await send({ body: spam('frozen') })
        expectProblem(unpaid, 503, 'consent.stale')
        while (performance.now() - frozen < FROZEN_MS) {
          expectProblem(await send({ body: spam('frozen'), headers }), 503, 'consent.stale')
        }
        expect((await send({ method: 'GET', path: '/v1/health' })).json).toMatchObject({ ready: false, freshHead: false })
        await expectUntouched(purse, before)
      } finally {
        process.kill(stage.pid('chain'), 'SIGCONT')
      }
      const { reply } = await insist(send, { body: spam('thawed'), headers: { ...headers, 'idempotency-key': 'thawed' } })
      expect(reply.status).toBe(200)
      expect(stage.pid('gateway')).toBe(gateway)
      await expectCharged(purse, before, SPAM_PRICE)
    })
  })
}
