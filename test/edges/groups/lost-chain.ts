import { beforeAll, describe, expect, it } from 'vitest'
import { insist } from '../support/patience.ts'
import { expectCharged, type Money } from '../support/purse.ts'
import { bearer, type Scene, SPAM_PRICE, spam } from '../support/scene.ts'
import { expectProblem } from '../support/wire.ts'

const FROZEN_MS = 4500
/** Longer than a busy gateway needs to notice. */
const NOTICED_MS = 10_000

/** A chain that does not answer: on consent that may be old, nothing is sold. */
export function lostChain(scene: () => Scene): void {
  describe('a chain that is down', () => {
    let before: Money
    const buy = () => scene().send({ body: spam('frozen'), headers: bearer(scene().apiKey) })
    beforeAll(async () => {
      before = await scene().purse.money()
    })

    it('answers 503 consent.stale to payers and others, serves nothing, and goes on when blocks come again', async () => {
      const { send, purse, stage, apiKey } = scene()
      const gateway = stage.pid('gateway')
      const chain = stage.pid('chain')
      const frozenAt = performance.now()
      const frozenFor = () => performance.now() - frozenAt
      let sold = 0n
      process.kill(chain, 'SIGSTOP')
      try {
        let reply = await buy()
        for (; reply.status === 200 && frozenFor() < NOTICED_MS; reply = await buy()) sold += 1n
        expectProblem(reply, 503, 'consent.stale')
        expectProblem(await send({ body: spam('frozen') }), 503, 'consent.stale')
        do expectProblem(await buy(), 503, 'consent.stale')
        while (frozenFor() < FROZEN_MS)
        expect((await send({ method: 'GET', path: '/v1/health' })).json).toMatchObject({ ready: false, freshHead: false })
        expect(await purse.meter.standing()).toMatchObject({ accountReserved: '0' })
      } finally {
        process.kill(chain, 'SIGCONT')
      }
      await insist(send, { body: spam('thawed'), headers: { ...bearer(apiKey), 'idempotency-key': 'thawed' } })
      expect([stage.pid('gateway'), stage.pid('chain')]).toEqual([gateway, chain])
      await expectCharged(purse, before, (sold + 1n) * SPAM_PRICE, Number(sold) + 1)
    })

    it('answers 503 chain.unavailable to an act that it cannot relay, and the act can be sent again', async () => {
      const { purse, stage } = scene()
      const { account } = purse.person.granary
      const chain = stage.pid('chain')
      await stage.world.giveDollars(purse.person, 5n)
      process.kill(chain, 'SIGSTOP')
      const refused = await account
        .deposit(5n)
        .catch((error: unknown) => error)
        .finally(() => process.kill(chain, 'SIGCONT'))
      expect(refused).toMatchObject({ code: 'chain.unavailable' })
      await account.deposit(5n)
      expect((await purse.money()).deposit).toBe(before.deposit + 5n)
    })
  })
}
