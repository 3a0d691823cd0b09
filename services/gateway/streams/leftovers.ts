import type { Log } from '../../adapters/log.ts'
import { GranaryError } from '../../core/errors.ts'
import type { Ledger } from '../../core/ports.ts'
import type { Progress } from '../../core/selling-ledger.ts'

const AT_ONCE = 100

/** Charges what was delivered of streams whose gateway died before it could end them, as their providers signed it. */
export async function commitDelivered(
  ledger: Pick<Ledger, 'commit'>,
  { read, log }: { read: (limit: number) => Promise<Progress[]>; log: Log },
): Promise<number> {
  let committed = 0
  for (;;) {
    const left = await read(AT_ONCE)
    let failed = 0
    for (const progress of left) {
      try {
        await ledger.commit({ ...progress, answerOf: () => new Uint8Array(), sealAnswer: null, inSteps: true })
        committed += 1
      } catch (error) {
        if (error instanceof GranaryError && error.code === 'ledger.unavailable') throw error
        failed += 1
        log.error({ event: 'stream.commit-failed', requestId: progress.requestId, error })
      }
    }
    if (left.length === 0 || failed > 0) {
      if (committed > 0) log.warn({ event: 'streams.committed', count: committed, why: 'cut by the end of their gateway' })
      return committed
    }
  }
}
