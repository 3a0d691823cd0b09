import type { Ledger } from '../../core/ports.ts'
import type { Log } from '../log.ts'
import { openAccounts } from './accounts.ts'
import { openCommits } from './committing.ts'
import { openCredentials } from './credentials.ts'
import { openDatabase } from './database.ts'
import { openExtensions } from './extending.ts'
import { openLeasedRequests } from './leased-requests.ts'
import { openLeases } from './leases.ts'
import { openLimits } from './limits.ts'
import { migrate } from './migrate.ts'
import { openMirror } from './mirror.ts'
import { openOwnership } from './ownership.ts'
import { openPayments } from './payments.ts'
import { openPublishing } from './publishing.ts'
import { openReservations } from './reserving.ts'
import { openRunningRequests } from './running-requests.ts'
import { openSealed } from './sealed.ts'
import { openSessions } from './sessions.ts'
import { openSettlement } from './settlement.ts'
import { openUsage } from './usage.ts'

/**
 * The ledger on PostgreSQL, at its newest migration. Several processes may open the same database. What a method has
 * answered is on the disk; `ledger.unavailable` means that it may or may not have happened, and that it may be repeated.
 */
export async function openLedger({ url, log, connections }: { url: string; log?: Log; connections?: number }): Promise<Ledger> {
  const applied = await migrate(url)
  if (applied.length > 0) log?.info({ event: 'ledger.migrated', applied })
  const database = openDatabase({ url, log, ...(connections === undefined ? {} : { connections }) })
  const leases = openLeases(database, { url, log })
  const reserving = { running: openRunningRequests(), leased: openLeasedRequests(), leases }
  return {
    ...openAccounts(database, leases),
    ...openReservations(database, reserving),
    ...openCommits(database, reserving),
    ...openExtensions(database, reserving),
    ...openCredentials(database),
    ...openSessions(database),
    ...openOwnership(database, { url, log }),
    ...openLimits(database, leases),
    ...openUsage(database),
    ...openSealed(database),
    ...openPayments(database),
    ...openSettlement(database),
    ...openPublishing(database),
    ...openMirror(database),
    async ping() {
      await database.query('SELECT 1')
    },
    async [Symbol.asyncDispose]() {
      await leases[Symbol.asyncDispose]()
      await database[Symbol.asyncDispose]()
    },
  }
}
