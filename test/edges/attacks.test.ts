import { afterAll, beforeAll, describe, vi } from 'vitest'
import { devChainMissing } from '../adapters/support/dev-chain.ts'
import { openOperator } from '../services/support/operator.ts'
import { freeRides } from './attacks/free-rides.ts'
import { money } from './attacks/money.ts'
import { overcharge } from './attacks/overcharge.ts'
import { paywall } from './attacks/paywall.ts'
import type { Stand } from './support/stand.ts'

vi.setConfig({ testTimeout: 90_000 })
const missing = devChainMissing()

/** What has cheated others, by its name, against two gateway processes of one operator; docs/TRUST.md has the table. */
describe.skipIf(missing !== null)(
  `attacks on what is paid by voucher and API key${missing ? ` (skipped: ${missing})` : ''}`,
  () => {
    const stack = new AsyncDisposableStack()
    let stand: Stand

    beforeAll(async () => {
      const operator = stack.use(await openOperator())
      stand = { operator, gateways: [await operator.gateway(), await operator.gateway()] }
    }, 180_000)
    afterAll(() => stack.disposeAsync(), 60_000)

    for (const group of [freeRides, overcharge, paywall, money]) group(() => stand)
  },
)
