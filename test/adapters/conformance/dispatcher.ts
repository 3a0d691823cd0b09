import { createHash, randomBytes } from 'node:crypto'
import type { Wallet } from 'ethers'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { GranaryError } from '../../../services/core/errors.ts'
import type { Job, JobReceipt, JobResult } from '../../../services/core/jobs.ts'
import type { Dispatcher } from '../../../services/core/ports.ts'
import {
  bytesTensor,
  honestReceipt,
  MODEL,
  newJob,
  newSessionKey,
  OPERATOR,
  random32,
  reverse,
  signResult,
} from '../support/jobs.ts'
import type { WorkerSteps } from '../support/steps.ts'

export type OnJob = (job: Job, options: { timeoutMs: number; signal: AbortSignal }) => Promise<JobResult>

export interface DispatcherSetup extends AsyncDisposable {
  dispatcher: Dispatcher
  /** Starts a worker with a session key of OPERATOR (or of nobody) and MODEL ready. */
  join(worker: {
    wallet: Wallet
    capacity: number
    onJob: OnJob
    onSteps?: WorkerSteps
    known?: boolean
  }): Promise<{ cutOff(): void }>
}

const LIMITS = { timeoutMs: 30_000 }
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

export function dispatcherConformance(name: string, open: () => Promise<DispatcherSetup>): void {
  describe(`Dispatcher on ${name}`, () => {
    let setup: DispatcherSetup
    beforeEach(async () => {
      setup = await open()
    })
    afterEach(() => setup[Symbol.asyncDispose]())

    async function joined(onJob: OnJob, { capacity = 8, wallet = newSessionKey() } = {}) {
      const link = await setup.join({ wallet, capacity, onJob })
      const find = () =>
        setup.dispatcher.workers().find((one) => one.sessionKey === wallet.address.toLowerCase() && one.ready.has(MODEL))
      await vi.waitFor(() => expect(find()).toBeTruthy(), { timeout: 10_000, interval: 5 })
      return { workerId: find()?.workerId ?? '', wallet, ...link }
    }
    const honest =
      (wallet: Wallet): OnJob =>
      (job) =>
        reverse(wallet, job)

    it('brings 100 jobs at once to a worker and each answer to its job', async () => {
      const wallet = newSessionKey()
      const { workerId } = await joined(honest(wallet), { capacity: 100, wallet })
      const jobs = Array.from({ length: 100 }, () => newJob())
      const sent = jobs.map((job) => setup.dispatcher.send(workerId, job, LIMITS))
      expect(setup.dispatcher.workers()[0]).toMatchObject({ inFlight: 100, capacity: 100, provider: OPERATOR })
      const results = await Promise.all(sent)
      for (const [index, { outputs, receipt }] of results.entries()) {
        expect(receipt.jobId).toBe(jobs[index]?.jobId)
        expect(receipt.units).toBe(jobs[index]?.units)
        expect(outputs[0]?.data.toReversed()).toEqual(jobs[index]?.inputs[0]?.data)
      }
      expect(setup.dispatcher.workers()[0]?.inFlight).toBe(0)
      expect(setup.dispatcher.workers()[0]?.averageMs).toBeGreaterThan(0)
    })

    it('moves tensors of 20 MB both ways, and a small job overtakes them', async () => {
      const wallet = newSessionKey()
      const { workerId } = await joined(honest(wallet), { wallet })
      const finished: string[] = []
      const data = new Uint8Array(randomBytes(20_000_000))
      const large = [newJob(data), newJob(data)].map(async (job) => {
        const { outputs } = await setup.dispatcher.send(workerId, job, LIMITS)
        finished.push('large')
        return outputs[0]?.data ?? new Uint8Array()
      })
      const small = setup.dispatcher.send(workerId, newJob(), LIMITS).then(() => finished.push('small'))
      const [first, second] = await Promise.all([...large, small])
      expect(finished[0]).toBe('small')
      const expected = sha256(data.slice().reverse())
      expect([first, second].map((bytes) => sha256(bytes as Uint8Array))).toEqual([expected, expected])
    }, 60_000)

    it('carries several tensors, empty ones too', async () => {
      const wallet = newSessionKey()
      const { workerId } = await joined(honest(wallet), { wallet })
      const inputs = [
        bytesTensor('a', new Uint8Array(3)),
        bytesTensor('b', new Uint8Array()),
        bytesTensor('c', new Uint8Array([7])),
      ]
      const { outputs } = await setup.dispatcher.send(workerId, { ...newJob(), inputs }, LIMITS)
      expect(outputs.map(({ name, data }) => [name, data.length])).toEqual([
        ['a-reversed', 3],
        ['b-reversed', 0],
        ['c-reversed', 1],
      ])
      await setup.dispatcher.send(workerId, { ...newJob(), inputs: [bytesTensor('none', new Uint8Array())] }, LIMITS)
    })

    it('says gone when the worker vanishes in the middle of a job', async () => {
      const started = Promise.withResolvers<void>()
      const { workerId, cutOff } = await joined(() => {
        started.resolve()
        return new Promise(() => {})
      })
      const sent = setup.dispatcher.send(workerId, newJob(), LIMITS)
      await started.promise
      cutOff()
      await expect(sent).rejects.toMatchObject({ code: 'provider.gone', retryable: true })
      await expect(setup.dispatcher.send(workerId, newJob(), LIMITS)).rejects.toMatchObject({ code: 'provider.gone' })
    })

    it('comes back by itself after its connection was lost', async () => {
      const wallet = newSessionKey()
      const { workerId, cutOff } = await joined(honest(wallet), { wallet })
      cutOff()
      const other = () => setup.dispatcher.workers().find((one) => one.workerId !== workerId && one.ready.has(MODEL))
      await vi.waitFor(() => expect(other()).toBeTruthy(), { timeout: 10_000 })
      expect(setup.dispatcher.workers().length).toBe(1)
      await setup.dispatcher.send(other()?.workerId ?? '', newJob(), LIMITS)
    })

    it('gives up at the deadline or when the caller does, tells the worker, and ignores what comes late', async () => {
      const wallet = newSessionKey()
      const aborted: string[] = []
      const release = Promise.withResolvers<void>()
      const { workerId } = await joined(
        async (job, { signal }) => {
          signal.addEventListener('abort', () => aborted.push(job.jobId))
          await release.promise
          return reverse(wallet, job)
        },
        { wallet },
      )
      const [late, abandoned] = [newJob(), newJob()]
      const caller = new AbortController()
      const sent = setup.dispatcher.send(workerId, abandoned, { ...LIMITS, signal: caller.signal })
      await expect(setup.dispatcher.send(workerId, late, { timeoutMs: 50 })).rejects.toMatchObject({ code: 'deadline.exceeded' })
      caller.abort()
      await expect(sent).rejects.toMatchObject({ code: 'deadline.exceeded' })
      await vi.waitFor(() => expect(aborted.toSorted()).toEqual([late.jobId, abandoned.jobId].toSorted()))
      release.resolve()
      expect((await setup.dispatcher.send(workerId, newJob(), LIMITS)).outputs.length).toBe(1)
      expect(setup.dispatcher.workers()[0]?.inFlight).toBe(0)
    })

    it('says busy at capacity, and passes on what the worker refuses', async () => {
      const wallet = newSessionKey()
      const release = Promise.withResolvers<void>()
      const problems = [
        new GranaryError('provider.refused', 'No consent.', { reason: 'ConsentEnded' }),
        new GranaryError('input.invalid', 'Wrong shape.', { tensor: 'x' }),
        new GranaryError('internal', 'The key is 123.'),
        new Error('A secret.'),
      ]
      const { workerId } = await joined(
        async (job) => {
          await release.promise
          const problem = problems.shift()
          if (problem) throw problem
          return reverse(wallet, job)
        },
        { capacity: 1, wallet },
      )
      const first = setup.dispatcher.send(workerId, newJob(), LIMITS)
      await expect(setup.dispatcher.send(workerId, newJob(), LIMITS)).rejects.toMatchObject({
        code: 'provider.busy',
        retryable: true,
      })
      release.resolve()
      await expect(first).rejects.toMatchObject({ code: 'provider.refused', evidence: { reason: 'ConsentEnded' } })
      const next = () => setup.dispatcher.send(workerId, newJob(), LIMITS)
      await expect(next()).rejects.toMatchObject({ code: 'input.invalid', evidence: { tensor: 'x' } })
      await expect(next()).rejects.toMatchObject({ code: 'provider.failed', message: 'The worker could not run the job.' })
      await expect(next()).rejects.toMatchObject({ code: 'provider.failed', message: 'The worker could not run the job.' })
      await next()
    })

    it('refuses inputs past the limit before they leave', async () => {
      const wallet = newSessionKey()
      const { workerId } = await joined(honest(wallet), { wallet })
      const job = newJob(new Uint8Array(65 * 1024 * 1024))
      await expect(setup.dispatcher.send(workerId, job, LIMITS)).rejects.toMatchObject({ code: 'request.too-large' })
      expect(setup.dispatcher.workers()[0]?.inFlight).toBe(0)
    })

    const lies: Record<string, (receipt: JobReceipt) => Partial<JobReceipt>> = {
      'another job': () => ({ jobId: random32() }),
      'another model': () => ({ modelId: random32() }),
      'another provider': () => ({ provider: `0x${'99'.repeat(20)}` }),
      'another purpose': ({ purpose }) => ({ purpose: purpose + 1 }),
      'another consent block': ({ consentBlock }) => ({ consentBlock: consentBlock + 1 }),
      'more units': ({ units }) => ({ units: units + 1n }),
      'a higher price': ({ unitPrice }) => ({ unitPrice: unitPrice + 1n }),
      'other inputs': () => ({ inputCommitment: random32() }),
      'other outputs': () => ({ outputCommitment: random32() }),
      'the future': ({ servedAt }) => ({ servedAt: servedAt + 3600 }),
      'the past': ({ servedAt }) => ({ servedAt: servedAt - 3600 }),
    }
    for (const [what, lie] of Object.entries(lies)) {
      it(`drops a worker whose receipt states ${what}`, async () => {
        const wallet = newSessionKey()
        const { workerId } = await joined(
          async (job) => {
            const outputs = [bytesTensor('y', new Uint8Array(4))]
            const receipt = honestReceipt(job, outputs)
            return signResult(wallet, { ...receipt, ...lie(receipt) }, outputs)
          },
          { wallet },
        )
        await expect(setup.dispatcher.send(workerId, newJob(), LIMITS)).rejects.toMatchObject({ code: 'provider.failed' })
        await vi.waitFor(() => expect(setup.dispatcher.workers().find((one) => one.workerId === workerId)).toBeUndefined())
      })
    }

    it('drops a worker whose receipt another key signed, or whose outputs were changed after signing', async () => {
      const stranger = await joined((job) => reverse(newSessionKey(), job))
      await expect(setup.dispatcher.send(stranger.workerId, newJob(), LIMITS)).rejects.toMatchObject({ code: 'provider.failed' })
      const wallet = newSessionKey()
      const tamperer = await joined(
        async (job) => {
          const result = await reverse(wallet, job)
          result.outputs[0]?.data.fill(0)
          return result
        },
        { wallet },
      )
      await expect(setup.dispatcher.send(tamperer.workerId, newJob(), LIMITS)).rejects.toMatchObject({ code: 'provider.failed' })
    })

    it('lists no worker whose session key no provider registered', async () => {
      await setup.join({ wallet: newSessionKey(), capacity: 1, onJob: () => new Promise(() => {}), known: false })
      const wallet = newSessionKey()
      await joined(honest(wallet), { wallet })
      expect(setup.dispatcher.workers().length).toBe(1)
    })
  })
}
