import { isDeepStrictEqual } from 'node:util'
import { GranaryError } from '../../core/errors.ts'
import { type Escrow, encodeBatch, MAX_BATCH_BYTES, publishBatch, rebuildDraft } from '../../core/published-batch.ts'
import { chargesOf } from '../../core/settlement.ts'
import type { BatchDraft, PublishingLedger } from '../../core/settlement-ledger.ts'

/** The bytes to publish; refuses to show what would not rebuild the transaction that was sent. */
export async function bytesOf(
  draft: BatchDraft,
  { ledger, escrow }: { ledger: Pick<PublishingLedger, 'receiptsOf'>; escrow: Escrow },
): Promise<Uint8Array<ArrayBuffer>> {
  const receipts = await ledger.receiptsOf(draft.rows.flatMap(({ requestIds }) => requestIds))
  const published = publishBatch(draft, { receipts, escrow })
  if (!isSameTransaction(rebuildDraft(published), draft))
    throw new GranaryError('internal', 'The receipts of a batch do not rebuild it.', { batchId: draft.batchId })
  const bytes = encodeBatch(published)
  if (bytes.length > MAX_BATCH_BYTES)
    throw new GranaryError('internal', 'A batch is too large to be published.', { bytes: bytes.length })
  return bytes
}

/** The same leaves have the same root. */
function isSameTransaction(rebuilt: BatchDraft, sent: BatchDraft): boolean {
  return isDeepStrictEqual(rebuilt.leaves, sent.leaves) && isDeepStrictEqual(chargesOf(rebuilt), chargesOf(sent))
}
