import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { beforeAll, describe, expect, it } from 'vitest'
import { deploymentPath } from '../../../scripts/local/deployment.ts'
import { startWorker } from '../../../scripts/story/worker.ts'
import { until } from '../../../scripts/story/world.ts'
import { VOICE_PRICE, voiceRequest } from '../support/audio.ts'
import { insist, loggedBy, untilLogged } from '../support/patience.ts'
import { expectCharged, expectUntouched, type Money } from '../support/purse.ts'
import { bearer, type Scene, SPAM_PRICE, spam } from '../support/scene.ts'
import { expectProblem } from '../support/wire.ts'

const LONG_SECONDS = 150
const KEYED = 48
const KILLS = 3
const SHORT_SECONDS = 50
/** That the seed has put there. */
const MODELS = 3

/** Processes killed with -9 while they have a paid job in hand. */
export function lostProcesses(scene: () => Scene): void {
  describe('a process killed in the middle of a job', () => {
    let before: Money
    const long = voiceRequest(LONG_SECONDS)
    const price = BigInt(LONG_SECONDS) * VOICE_PRICE
    const request = (body: unknown) => ({
      body,
      headers: { ...bearer(scene().apiKey), 'idempotency-key': crypto.randomUUID() },
    })
    const inFlight = () =>
      until(
        'money to be reserved',
        async () => BigInt(String((await scene().purse.meter.standing()).accountReserved)) > 0n,
        20_000,
      )
    const kill = (name: string) => {
      const pid = scene().stage.pid(name)
      expect(pid).toBeGreaterThan(1)
      process.kill(pid, 'SIGKILL')
      return until(`${name} to be started again`, async () => ![0, pid].includes(scene().stage.pid(name)), 30_000)
    }
    beforeAll(async () => {
      before = await scene().purse.money()
    })

    it('answers 503 provider.gone when the only worker dies, charges nothing, and serves a repeat once another runs', async () => {
      const { send, purse } = scene()
      const sent = request(long)
      const answer = send(sent)
      await inFlight()
      const restarted = kill('provider')
      expectProblem(await answer, 503, 'provider.gone')
      await expectUntouched(purse, before)
      expectProblem(await send(request(long)), 503, 'provider.none')
      await restarted
      const { reply } = await insist(send, sent)
      expect(reply.json.charged).toBe(price.toString())
      await expectCharged(purse, before, price)
      before = await purse.money()
    })

    it('gives the jobs of a dead worker to another: all are answered, each charged once', async () => {
      const { send, purse, stage } = scene()
      const { rpcUrl } = stage.cooperative.facts
      const dir = join(stage.dir, 'second-worker')
      const sessionPrivateKey = stage.cooperative.keys.session.key
      const deployment = deploymentPath(stage.dir)
      const known = new Set(loggedBy(stage.dir, 'gateway').map(({ workerId }) => workerId))
      await using second = await startWorker({ dir, sessionPrivateKey, gatewayUrl: stage.gatewayUrl, rpcUrl, deployment })
      await untilLogged(stage.dir, 'gateway', ({ event, workerId, models }) => {
        return event === 'worker.ready' && !known.has(workerId) && Number(models) >= MODELS
      })
      const answers = Array.from({ length: 4 }, () => send(request(voiceRequest(SHORT_SECONDS))))
      await inFlight()
      process.kill(second.pid, 'SIGKILL')
      expect((await Promise.all(answers)).map(({ status }) => status)).toEqual([200, 200, 200, 200])
      await expectCharged(purse, before, 4n * BigInt(SHORT_SECONDS) * VOICE_PRICE, 4)
      before = await purse.money()
    })

    it('forgets a dead gateway’s reservations when it runs again, and charges the repeated request exactly once', async () => {
      const { send, purse, stage } = scene()
      const sent = request(long)
      const lost = send(sent).catch((error: unknown) => error)
      await inFlight()
      const restarted = kill('gateway')
      expect(await lost).toMatchObject({ code: expect.stringMatching(/^ECONN/) })
      await restarted
      await stage.untilServing('silero-vad')
      await expectUntouched(purse, before)
      const { reply } = await insist(send, sent)
      const again = await send(sent)
      expect(again.headers['idempotent-replayed']).toBe('true')
      expect(again.bytes.equals(reply.bytes)).toBe(true)
      await expectCharged(purse, before, price)
      before = await purse.money()
    })

    it('charges no idempotency key twice while the gateway is killed again and again under load', async () => {
      const { send, purse } = scene()
      const requests = Array.from({ length: KEYED }, (_, index) => request(spam(`keyed ${index}`)))
      // Each is sent once more after its answer: a repeat may come at any time, also over a kill.
      const answered = requests.map(async (sent) => {
        const { reply } = await insist(send, sent)
        const again = await insist(send, sent)
        return again.reply.bytes.equals(reply.bytes)
      })
      const all = Promise.all(answered)
      for (let killed = 0; killed < KILLS; killed++) {
        await delay(Math.random() * 400)
        await kill('gateway')
      }
      expect(await all).toEqual(Array(KEYED).fill(true))
      await expectCharged(purse, before, BigInt(KEYED) * SPAM_PRICE, KEYED)
    })
  })
}
