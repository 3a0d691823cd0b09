import { openLedger } from '../services/adapters/ledger/prisma-ledger.ts'
import { openLog } from '../services/adapters/log.ts'
import { masterKeys, text } from '../services/adapters/settings.ts'
import { type Count, resealAll } from '../services/gateway/resealing.ts'

/**
 * Replaces the master key: seals everything in DATABASE_URL anew under GRANARY_MASTER_KEY_FILE (or GRANARY_MASTER_KEY), opening
 * it with that or with GRANARY_OTHER_MASTER_KEY_FILES. The whole procedure: docs/OPERATIONS.md, "The master key".
 */
const keys = masterKeys(process.env)
await using ledger = await openLedger({
  url: text(process.env, 'DATABASE_URL'),
  log: openLog({ process: 'reseal', level: 'error' }),
})
const { escrowKeys, deliveries, answersLeft, lastAnswerReservedAt } = await resealAll(ledger, keys)
report('escrow keys', 'API key', escrowKeys)
report('deliveries under way', 'request', deliveries)
if (answersLeft > 0) {
  const last = new Date(Number(lastAnswerReservedAt) * 1000).toISOString()
  console.log(
    `${answersLeft} stored answers are under another master key, the last of ${last}: keep that key until they are forgotten`,
  )
}
process.exitCode = escrowKeys.failed.length + deliveries.failed.length === 0 ? 0 : 1

function report(what: string, of: string, { resealed, current, failed }: Count) {
  console.log(`${resealed} ${what} sealed anew, ${current} were already, ${failed.length} could not be opened`)
  for (const id of failed) console.error(`not opened by any of the ${keys.length} master keys: ${of} ${id}`)
}
