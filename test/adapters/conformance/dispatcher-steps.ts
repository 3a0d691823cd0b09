import type { Wallet } from 'ethers'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { GranaryError } from '../../../services/core/errors.ts'
import type { JobReceipt, JobStep } from '../../../services/core/jobs.ts'
import type { JobStream } from '../../../services/core/ports.ts'
import { commitTensors, joinBytes } from '../../../services/core/tensors.ts'
import { bytesTensor, MODEL, newSessionKey, random32 } from '../support/jobs.ts'
import { reverseInSteps, steppedJob, type WorkerSteps } from '../support/steps.ts'
import type { DispatcherSetup } from './dispatcher.ts'

const STEP_MS = 20_000
const LIMITS = { timeoutMs: 30_000 }

/** Answers that come in steps. */
export function steppedDispatcherConformance(name: string, open: () => Promise<DispatcherSetup>): void {
  describe(`Dispatcher on ${name}, step by step`, () => {
    let setup: DispatcherSetup
    beforeEach(async () => {
      setup = await open()
    })
    afterEach(() => setup[Symbol.asyncDispose]())

    async function joined(onSteps: (wallet: Wallet) => WorkerSteps, { capacity = 8 } = {}) {
      const wallet = newSessionKey()
      const onJob = () => Promise.reject(new Error('not asked for'))
      const link = await setup.join({ wallet, capacity, onJob, onSteps: onSteps(wallet) })
      const find = () => setup.dispatcher.workers().find((one) => one.sessionKey === wallet.address.toLowerCase())
      await vi.waitFor(() => expect(find()?.ready.has(MODEL)).toBe(true), { timeout: 10_000, interval: 5 })
      return { workerId: find()?.workerId ?? '', ...link }
    }
    const inFlight = () => setup.dispatcher.workers()[0]?.inFlight

    it('brings every step in order, and the last receipt read is for exactly the steps read, wherever the reader stops', async () => {
      const { workerId } = await joined((wallet) => reverseInSteps(wallet))
      const run = fc.record({ numbers: fc.integer({ min: 1, max: 60 }), cut: fc.nat(20), ahead: fc.integer({ min: 1, max: 9 }) })
      await fc.assert(
        fc.asyncProperty(run, async ({ numbers, cut, ahead }) => {
          const { job, plan } = steppedJob(Math.ceil(numbers / 4), numbers)
          await using stream = setup.dispatcher.stream(workerId, job, { plan, granted: ahead, ...LIMITS })
          const steps: JobStep[] = []
          for (let step = await read(stream); step && steps.push(step) < cut; step = await read(stream)) {
            expect(step.index).toBe(steps.length - 1)
            stream.grant(steps.length + ahead)
          }
          const [last] = steps.slice(-1)
          if (!last) return
          const all = bytesTensor('y', joinBytes(steps.map(({ outputs }) => outputs[0]?.data ?? new Uint8Array())))
          expect(last.receipt.outputCommitment).toBe(commitTensors([all], job.outputSalt))
          expect(last.receipt.units).toBe(plan.unitsAfter(steps.length))
          if (cut > plan.steps) expect(steps.length).toBe(plan.steps)
        }),
        { numRuns: 40 },
      )
      await vi.waitFor(() => expect(inFlight()).toBe(0))
    }, 60_000)

    it('lets a worker do no step that is not granted, and forgets the job once it is left', async () => {
      let computed = 0
      const stopped = Promise.withResolvers<void>()
      const { workerId } = await joined(
        (wallet) =>
          async function* (job, options) {
            options.signal.addEventListener('abort', () => stopped.resolve())
            for await (const step of reverseInSteps(wallet)(job, options)) {
              computed += 1
              yield step
            }
          },
      )
      const { job, plan } = steppedJob(10)
      const stream = setup.dispatcher.stream(workerId, job, { plan, granted: 2, ...LIMITS })
      for (const index of [0, 1]) expect(await read(stream)).toMatchObject({ index })
      await expect(stream.next(50)).rejects.toMatchObject({ code: 'deadline.exceeded' })
      expect(computed).toBe(2)
      stream.grant(1)
      stream.grant(3)
      expect(await read(stream)).toMatchObject({ index: 2 })
      expect(inFlight()).toBe(1)
      await stream[Symbol.asyncDispose]()
      await stopped.promise
      expect({ computed, inFlight: inFlight() }).toEqual({ computed: 3, inFlight: 0 })
    })

    it('keeps steps in order that are too large for the socket at once', async () => {
      const { workerId } = await joined((wallet) => reverseInSteps(wallet, { bytes: 1 << 20 }))
      const { job, plan } = steppedJob(6)
      await using stream = setup.dispatcher.stream(workerId, job, { plan, granted: 6, ...LIMITS })
      for (let index = 0; index < 6; index += 1) expect(await read(stream)).toMatchObject({ index })
      expect(await read(stream)).toBeNull()
    })

    it('refuses a step beyond the size that a step may have, on the worker', async () => {
      const { workerId } = await joined((wallet) => reverseInSteps(wallet, { bytes: (1 << 20) + 4 }))
      const { job, plan } = steppedJob(2)
      await using stream = setup.dispatcher.stream(workerId, job, { plan, granted: 2, ...LIMITS })
      await expect(read(stream)).rejects.toMatchObject({ code: 'provider.failed' })
    })

    it('gives what came before the worker vanished, then says gone', async () => {
      const { workerId, cutOff } = await joined((wallet) => reverseInSteps(wallet))
      const { job, plan } = steppedJob(5)
      await using stream = setup.dispatcher.stream(workerId, job, { plan, granted: 3, ...LIMITS })
      expect(await read(stream)).toMatchObject({ index: 0 })
      await vi.waitFor(() => expect(stream.next(1)).resolves.toMatchObject({ index: 1 }))
      cutOff()
      await vi.waitFor(() => expect(setup.dispatcher.workers().some((one) => one.workerId === workerId)).toBe(false))
      stream.grant(5)
      const rest = async () => {
        for (;;) await read(stream)
      }
      await expect(rest()).rejects.toMatchObject({ code: 'provider.gone' })
    })

    it('passes on what the worker refuses in the middle, and holds a place for each stream', async () => {
      const refusing = (wallet: Wallet): WorkerSteps =>
        async function* (job, options) {
          for await (const step of reverseInSteps(wallet)(job, options)) {
            if (step.index === 2) throw new GranaryError('provider.refused', 'Consent ended.', { reason: 'ended' })
            yield step
          }
        }
      const { workerId } = await joined(refusing, { capacity: 1 })
      const { job, plan } = steppedJob(5)
      await using stream = setup.dispatcher.stream(workerId, job, { plan, granted: 5, ...LIMITS })
      const another = () => setup.dispatcher.stream(workerId, steppedJob(5).job, { plan, granted: 5, ...LIMITS })
      expect(another).toThrow(expect.objectContaining({ code: 'provider.busy' }))
      for (const index of [0, 1]) expect(await read(stream)).toMatchObject({ index })
      await expect(read(stream)).rejects.toMatchObject({ code: 'provider.refused', evidence: { reason: 'ended' } })
      await using _next = another()
    })

    it('ends a stream at its limit, whoever is waiting', async () => {
      const { workerId } = await joined((wallet) => reverseInSteps(wallet))
      const { job, plan } = steppedJob(5)
      await using stream = setup.dispatcher.stream(workerId, job, { plan, granted: 1, timeoutMs: 200 })
      expect(await read(stream)).toMatchObject({ index: 0 })
      await expect(read(stream)).rejects.toMatchObject({ code: 'deadline.exceeded' })
      await vi.waitFor(() => expect(inFlight()).toBe(0))
    })

    const lies: Record<string, (step: JobStep) => Partial<JobReceipt>> = {
      'more units than its steps have': ({ receipt }) => ({ units: receipt.units + 1n }),
      'the units of the whole': () => ({ units: 20n }),
      'the outputs of the step alone': ({ receipt, outputs }) => ({
        outputCommitment: commitTensors(outputs, receipt.jobId),
      }),
      'a higher price': ({ receipt }) => ({ unitPrice: receipt.unitPrice + 1n }),
      'another job': () => ({ jobId: random32() }),
      'an earlier time than the step before': ({ receipt }) => ({ servedAt: receipt.servedAt - 1 }),
    }
    for (const [what, lie] of Object.entries(lies)) {
      it(`drops a worker whose later step states ${what}, and keeps the steps before`, async () => {
        const change = (step: JobStep) => (step.index === 2 ? lie(step) : {})
        const { workerId } = await joined((wallet) => reverseInSteps(wallet, { change }))
        await expectDropped(workerId, 2)
      })
    }

    it('drops a worker that leaves a step out, gives one twice, or signs one with another key', async () => {
      const skipping = await joined((wallet) => reverseInSteps(wallet, { index: (index) => (index < 1 ? index : index + 1) }))
      await expectDropped(skipping.workerId, 1)
      const repeating = await joined((wallet) => reverseInSteps(wallet, { index: (index) => Math.max(0, index - 1) }))
      await expectDropped(repeating.workerId, 1)
      const stranger = await joined(() => reverseInSteps(newSessionKey()))
      await expectDropped(stranger.workerId, 0)
    })

    async function expectDropped(workerId: string, after: number): Promise<void> {
      const { job, plan } = steppedJob(5)
      await using stream = setup.dispatcher.stream(workerId, job, { plan, granted: 5, ...LIMITS })
      for (let index = 0; index < after; index += 1) expect(await read(stream)).toMatchObject({ index })
      await expect(read(stream)).rejects.toMatchObject({ code: 'provider.failed' })
      await vi.waitFor(() => expect(setup.dispatcher.workers().some((one) => one.workerId === workerId)).toBe(false))
    }
  })
}

const read = (stream: JobStream) => stream.next(STEP_MS)
