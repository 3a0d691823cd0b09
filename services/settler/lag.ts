import type { Log } from '../adapters/log.ts'
import type { Chain } from '../core/ports.ts'
import type { SettlementLedger } from '../core/settlement-ledger.ts'

const REPORT_MS = 60_000

export interface LagOptions {
  chain: Pick<Chain, 'head' | 'read'>
  ledger: Pick<SettlementLedger, 'exposure'>
  collector: string
  log: Log
  now?: () => number
}

/**
 * Tells once a minute what is not settled and how old it is; a warning past half of the chain's settlement window, after
 * whose end it is lost. Returns whether it was time.
 */
export function openLagReport({
  chain,
  ledger,
  collector,
  log,
  now = () => performance.now(),
}: LagOptions): () => Promise<boolean> {
  let reportedAt = Number.NEGATIVE_INFINITY
  return async () => {
    if (now() - reportedAt < REPORT_MS) return false
    reportedAt = now()
    const { requests, amount, oldestServedAt, atRisk } = await ledger.exposure(collector)
    if (oldestServedAt === null) return true
    const windowSeconds = Number(await chain.read({ contract: 'InferenceEscrow', method: 'MAX_SETTLEMENT_SECONDS', args: [] }))
    const ageSeconds = (await chain.head()).timestamp - oldestServedAt
    const lag = {
      event: 'settler.lag',
      requests,
      amount: amount.toString(),
      atRisk: atRisk.toString(),
      ageSeconds,
      windowSeconds,
    }
    if (2 * ageSeconds > windowSeconds) log.warn(lag)
    else log.info(lag)
    return true
  }
}
