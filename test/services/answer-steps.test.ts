import { describe, expect, it } from 'vitest'
import type { Head } from '../../services/core/chain-records.ts'
import { GranaryError } from '../../services/core/errors.ts'
import type { Job, JobStep } from '../../services/core/jobs.ts'
import { digestOf, signerOf } from '../../services/core/messages.ts'
import type { LoadedModel, Runtime } from '../../services/core/ports.ts'
import { commitTensors, floatsOf, floatTensor, joinRows } from '../../services/core/tensors.ts'
import type { Answering } from '../../services/provider/answer.ts'
import { answerInSteps } from '../../services/provider/answer-steps.ts'
import { affineModel } from '../adapters/conformance/tiny-models.ts'
import { escrow, newSessionKey, OPERATOR, random32 } from '../adapters/support/jobs.ts'

const PRICE = 250n
const ROWS = 7
const wallet = newSessionKey()
const manifest = { ...affineModel().manifest, steps: { size: 3 } }
const LIMITS = { timeoutMs: 10_000, signal: new AbortController().signal }

/** A worker whose model counts the steps of each stream in what it carries, and gives that number per row. */
function worker(permit: (step: number) => void = () => {}): Answering {
  let asked = 0
  const runtime: Partial<Runtime> = {
    async step(_model, { inputs, carried, isLast }) {
      const step = 1 + (carried[0] ? (floatsOf(carried[0])[0] ?? 0) : 0)
      const rows = inputs[0]?.shape[0] ?? 0
      const carry = isLast ? [] : [floatTensor('count', Float32Array.of(step), [1])]
      return { outputs: [floatTensor('y', new Float32Array(rows).fill(step), [rows])], carried: carry, computeMicros: 10 }
    },
  }
  return {
    operator: () => OPERATOR,
    offer: (modelId) => ({ modelId, unit: 5, unitPrice: PRICE }),
    model: (modelId): LoadedModel => ({ modelId, manifest, batchable: true }),
    async permit() {
      permit(asked)
      asked += 1
      return { number: asked, timestamp: 1_800_000_000 + asked } as Head
    },
    runtime: runtime as Runtime,
    wallet,
    escrow,
  }
}

function job(change: Partial<Job> = {}): Job {
  return {
    ...{ jobId: random32(), modelId: random32(), purpose: 1, jurisdiction: 255, consentBlock: 11, unitPrice: PRICE },
    ...{ inputSalt: random32(), outputSalt: random32(), units: BigInt(ROWS), stepSize: 3 },
    inputs: [floatTensor('x', new Float32Array(3 * ROWS), [ROWS, 3])],
    ...change,
  }
}

async function all(answering: Answering, asked: Job, limits = LIMITS): Promise<(JobStep & { isLast: boolean })[]> {
  const steps: (JobStep & { isLast: boolean })[] = []
  for await (const step of answerInSteps(answering, asked, limits)) steps.push(step)
  return steps
}

describe('a worker that answers in steps', () => {
  it('signs after each step over all of them, with what the model carries in between', async () => {
    const asked = job()
    const steps = await all(worker(), asked)
    expect(steps.map(({ index, isLast }) => [index, isLast])).toEqual([
      [0, false],
      [1, false],
      [2, true],
    ])
    for (const [index, { receipt, signature }] of steps.entries()) {
      const given = steps.slice(0, index + 1).map(({ outputs }) => outputs)
      expect(receipt).toMatchObject({
        jobId: asked.jobId,
        units: BigInt(Math.min(ROWS, 3 * (index + 1))),
        outputCommitment: commitTensors(joinRows(given), asked.outputSalt),
        inputCommitment: commitTensors(asked.inputs, asked.inputSalt),
        computeMicros: 10 * (index + 1),
        servedAt: 1_800_000_001 + index,
      })
      expect(signerOf(digestOf('InferenceEscrow', 'JobReceipt', escrow, { ...receipt }), signature)).toBe(wallet.address)
    }
    expect(joinRows(steps.map(({ outputs }) => outputs)).map((y) => [...floatsOf(y)])).toEqual([[1, 1, 1, 2, 2, 2, 3]])
  })

  it('refuses other steps than the manifest has, other units and another price', async () => {
    for (const change of [{ stepSize: 2 }, { stepSize: 7 }, { units: 6n }, { unitPrice: PRICE + 1n }])
      await expect(all(worker(), job(change))).rejects.toMatchObject({ code: 'provider.failed' })
  })

  it('looks at consent before each step, and gives none after it has ended', async () => {
    const ended = new GranaryError('provider.refused', 'Consent ended.')
    const answering = worker((step) => {
      if (step === 2) throw ended
    })
    const steps = answerInSteps(answering, job(), LIMITS)
    for (const index of [0, 1]) expect((await steps.next()).value).toMatchObject({ index })
    await expect(steps.next()).rejects.toBe(ended)
  })

  it('does nothing more once the job is given up, or its time is over', async () => {
    const given = new AbortController()
    const steps = answerInSteps(worker(), job(), { ...LIMITS, signal: given.signal })
    expect((await steps.next()).value).toMatchObject({ index: 0 })
    given.abort()
    await expect(steps.next()).rejects.toMatchObject({ code: 'deadline.exceeded' })
    await expect(all(worker(), job(), { ...LIMITS, timeoutMs: 0 })).rejects.toMatchObject({ code: 'deadline.exceeded' })
  })
})
