import { parentPort, workerData } from 'node:worker_threads'
import { openDatabase } from '../../adapters/ledger/database.ts'
import { openPublishing } from '../../adapters/ledger/publishing.ts'
import { openLog } from '../../adapters/log.ts'
import { GranaryError, problemOf } from '../../core/errors.ts'
import { receiptProofs } from '../../core/merkle.ts'
import { bytesOf } from './batch-bytes.ts'
import type { Answer, Question, ThreadSettings } from './thread-messages.ts'

/** The archive's thread: reads the ledger, over a connection of its own, and writes nothing. */
const { databaseUrl, escrow, logLevel } = workerData as ThreadSettings
const log = openLog({ process: 'gateway.archive', level: logLevel })
const ledger = openPublishing(openDatabase({ url: databaseUrl, log, connections: 1 }))

parentPort?.on('message', async (question: Question) => {
  const answer = await answerTo(question).catch((error: unknown): Answer => {
    // Across threads goes what may be told; what was not foreseen is told here.
    if (!(error instanceof GranaryError) || error.code === 'internal')
      log.error({ event: 'archive.failed', batchId: question.batchId, error })
    return { answer: 'failed', problem: problemOf(error) }
  })
  parentPort?.postMessage(answer, answer.answer === 'bytes' ? [answer.batch.bytes.buffer] : [])
})

async function answerTo(question: Question): Promise<Answer> {
  const settled = await ledger.settledBatch(question.batchId)
  if (!settled) return { answer: 'none' }
  const { transaction, cid, draft } = settled
  switch (question.ask) {
    case 'bytes':
      return { answer: 'bytes', batch: { bytes: await bytesOf(draft, { ledger, escrow }), transaction, cid } }
    case 'proofs':
      return { answer: 'proofs', proofs: { transaction, proofs: receiptProofs(draft.leaves, question.heads) } }
  }
}
