import { createHash } from 'node:crypto'
import { parentPort } from 'node:worker_threads'
import { GranaryError } from '../../core/errors.ts'
import type { ModelStep } from '../../core/ports.ts'
import type { Tensor } from '../../core/tensors.ts'
import { openOnnxSession } from './onnx-session.ts'
import { requireSelfContained } from './self-contained.ts'
import { checkGolden, isBatchable, runStacked } from './self-test.ts'
import { openStepTask } from './stepping.ts'
import type { StepTask, Task } from './tasks/task.ts'
import { tasks } from './tasks/tasks.ts'
import { type Answer, buffersOf, failureOf, type Question, type RunResult } from './thread-messages.ts'

/** Runs in a worker thread: one model's session, which blocks while it computes. */
let opened: { task: Task; stepTask: StepTask | null; batchable: boolean } | null = null

parentPort?.on('message', async (question: Question) => {
  if (question.ask === 'end') process.exit()
  try {
    reply(await answerTo(question))
  } catch (error) {
    reply({ answer: 'failed', failure: failureOf(error) })
  }
})

async function answerTo(question: Exclude<Question, { ask: 'end' }>): Promise<Answer> {
  switch (question.ask) {
    case 'open':
      return open(question)
    case 'run':
      return { answer: 'ran', results: await run(question.requests) }
    case 'step':
      return { answer: 'ran', results: [await runStep(question.step)] }
  }
}

function reply(answer: Answer): void {
  const outputs =
    answer.answer === 'ran'
      ? answer.results.flatMap((result) => (result.ok ? [...result.outputs, ...(result.carried ?? [])] : []))
      : []
  parentPort?.postMessage(answer, buffersOf(outputs))
}

async function open({ manifest, onnx, files }: Extract<Question, { ask: 'open' }>): Promise<Answer> {
  checkDigest(manifest.onnx, onnx)
  const checked = new Map(
    manifest.files.map((file) => {
      const bytes = files.get(file.name)
      if (!bytes) throw new GranaryError('content.not-found', `The model's file ${file.name} is missing.`, { file: file.name })
      checkDigest(file, bytes)
      return [file.name, bytes]
    }),
  )
  requireSelfContained(onnx)
  const session = await openOnnxSession(onnx)
  const kind = tasks[manifest.task]
  const context = { manifest, files: checked, session }
  const task = kind.open(context)
  await checkGolden(manifest, task)
  const batchable = await isBatchable(manifest, kind, task)
  opened = { task, stepTask: openStepTask({ context, kind, task, batchable }), batchable }
  return { answer: 'opened', batchable: opened.batchable }
}

function checkDigest(file: { name: string; sha256: string; sizeBytes: number }, bytes: Uint8Array): void {
  const sha256 = `0x${createHash('sha256').update(bytes).digest('hex')}`
  if (bytes.length === file.sizeBytes && sha256 === file.sha256) return
  throw new GranaryError('content.mismatch', `${file.name} is not the file that the manifest names.`, {
    file: file.name,
    expected: { sha256: file.sha256, sizeBytes: file.sizeBytes },
    actual: { sha256, sizeBytes: bytes.length },
  })
}

/** Halves a run that failed until the bad request is alone: log2 more runs, and only its caller sees the error. */
async function run(requests: readonly Tensor[][]): Promise<RunResult[]> {
  if (!opened) throw new GranaryError('provider.failed', 'The session is not open.')
  const started = process.hrtime.bigint()
  try {
    const [first] = requests
    const outputs = requests.length === 1 && first ? [await opened.task(first)] : await runStacked(opened.task, requests)
    const micros = Number((process.hrtime.bigint() - started) / 1000n)
    // A shared run took each of them a part of its time; rounded up, never zero.
    const computeMicros = Math.max(1, Math.ceil(micros / requests.length))
    return outputs.map((tensors) => ({ ok: true, outputs: tensors, computeMicros }))
  } catch (error) {
    if (requests.length === 1) return [{ ok: false, failure: failureOf(error) }]
    const middle = requests.length >> 1
    return [...(await run(requests.slice(0, middle))), ...(await run(requests.slice(middle)))]
  }
}

async function runStep(step: ModelStep): Promise<RunResult> {
  if (!opened?.stepTask) throw new GranaryError('provider.failed', 'This model does not yield in steps.')
  const started = process.hrtime.bigint()
  try {
    const stepped = await opened.stepTask(step)
    const computeMicros = Math.max(1, Number((process.hrtime.bigint() - started) / 1000n))
    return { ok: true, ...stepped, computeMicros }
  } catch (error) {
    return { ok: false, failure: failureOf(error) }
  }
}
