import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { until } from '../../../scripts/story/world.ts'
import { insist } from '../support/patience.ts'
import { expectCharged, type Money } from '../support/purse.ts'
import { bearer, type Scene, SPAM_PRICE, spam } from '../support/scene.ts'
import { expectProblem } from '../support/wire.ts'

const PARALLEL = 6

/** PostgreSQL killed with -9, and PostgreSQL that does not answer, under requests that are being paid. */
export function lostDatabase(scene: () => Scene): void {
  describe('a database that is down', () => {
    let before: Money
    const request = (text: string) => ({
      body: spam(text),
      headers: { ...bearer(scene().apiKey), 'idempotency-key': crypto.randomUUID() },
    })
    beforeAll(async () => {
      before = await scene().purse.money()
    })

    it('answers 503 ledger.unavailable, works again without a restart of the gateway, and charges each request once', async () => {
      const { send, purse, stage } = scene()
      const gateway = stage.pid('gateway')
      const buying = Array.from({ length: PARALLEL }, (_, index) => send(request(`before ${index}`)).catch(() => null))
      process.kill(postmaster(stage.dir), 'SIGKILL')
      const refused = await untilRefused(scene())
      expectProblem(refused, 503, 'ledger.unavailable')
      expect((await send({ method: 'GET', path: '/v1/health' })).json).toMatchObject({ live: true, ready: false, ledger: false })
      const { reply } = await insist(send, request('after'))
      expect(reply.status).toBe(200)
      expect(stage.pid('gateway')).toBe(gateway)
      const answered = (await Promise.all(buying)).filter((bought) => bought?.status === 200).length
      await untilFree(scene())
      const money = await purse.money()
      // A charge whose answer was lost can be asked for again; a request that was not charged has no line.
      expect(money.lines - before.lines).toBeGreaterThanOrEqual(answered + 1)
      expect(money.lines - before.lines).toBeLessThanOrEqual(PARALLEL + 1)
      expect(money.charged - before.charged).toBe(BigInt(money.lines - before.lines) * SPAM_PRICE)
      before = money
    })

    it('charges each request once when all are repeated until they are answered', async () => {
      const { send, purse, stage } = scene()
      const requests = Array.from({ length: PARALLEL }, (_, index) => request(`again ${index}`))
      const buying = requests.map((sent) => insist(send, sent))
      process.kill(postmaster(stage.dir), 'SIGKILL')
      const bought = await Promise.all(buying)
      for (const { refusals } of bought) for (const refusal of refusals) expect([503, 409]).toContain(refusal.status)
      await untilFree(scene())
      await expectCharged(purse, before, BigInt(PARALLEL) * SPAM_PRICE, PARALLEL)
      before = await purse.money()
    })
  })
}

/** Asks until the database's absence shows. */
async function untilRefused({ send, apiKey }: Scene) {
  for (let attempt = 0; attempt < 200; attempt++) {
    const reply = await send({ body: spam('during'), headers: { ...bearer(apiKey), 'idempotency-key': 'during' } })
    if (reply.status !== 200) return reply
  }
  throw new Error('The database was never missed.')
}

function untilFree({ purse }: Scene): Promise<void> {
  return until('nothing to be reserved', async () => (await purse.meter.standing()).accountReserved === '0', 60_000)
}

/** PostgreSQL's first process: the one of its data folder that its pid file names. */
function postmaster(dir: string): number {
  const folder = join(dir, 'postgres')
  const pid = Number(readFileSync(join(folder, 'data', 'postmaster.pid'), 'utf8').split('\n')[0])
  if (!(pid > 1)) throw new Error('PostgreSQL does not run.')
  return pid
}
