import { beforeAll, describe } from 'vitest'
import type { OpenLedger } from './ledger-acts.ts'
import { ledgerCommitting } from './ledger-committing.ts'
import { ledgerExtending } from './ledger-extending.ts'
import { ledgerHistories } from './ledger-history.ts'
import { ledgerHouse } from './ledger-house.ts'
import { ledgerLeasing } from './ledger-leasing.ts'
import { ledgerLimits } from './ledger-limits.ts'
import { ledgerMirror } from './ledger-mirror.ts'
import { ledgerParallel } from './ledger-parallel.ts'
import { ledgerPayments } from './ledger-payments.ts'
import { ledgerReserving } from './ledger-reserving.ts'
import { ledgerSettling } from './ledger-settling.ts'
import { ledgerSiblings } from './ledger-siblings.ts'
import { ledgerUsage } from './ledger-usage.ts'

/** What any Ledger must keep, whatever it is built on. */
export function ledgerConformance(open: () => Promise<OpenLedger>): void {
  describe('ledger conformance', () => {
    let opened: OpenLedger
    beforeAll(async () => {
      opened = await open()
    })
    ledgerReserving(() => opened)
    ledgerCommitting(() => opened)
    ledgerParallel(() => opened)
    ledgerLeasing(() => opened)
    ledgerSettling(() => opened)
    ledgerLimits(() => opened)
    ledgerExtending(() => opened)
    ledgerUsage(() => opened)
    ledgerSiblings(() => opened)
    ledgerHistories(() => opened)
    ledgerHouse(() => opened)
    ledgerPayments(() => opened)
    ledgerMirror(() => opened.ledger)
  })
}
