import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { openLog } from '../../services/adapters/log.ts'
import { GranaryError } from '../../services/core/errors.ts'
import type { Order, Shop } from '../../services/gateway/order.ts'
import { Releases } from '../../services/gateway/releases.ts'
import { sell } from '../../services/gateway/sale.ts'

const log = openLog({ process: 'lost-answers', level: 'fatal' })
const unavailable = () => new GranaryError('ledger.unavailable', 'The database does not answer.')

/** A ledger that does what it is asked, and whose answers get lost: what is reserved must still end. */
describe('a ledger whose answers get lost', () => {
  const reserved = new Set<string>()
  let releases: Releases
  afterEach(async () => {
    await releases[Symbol.asyncDispose]()
    reserved.clear()
  })

  function shopWith(reserve: (requestId: string) => Promise<never>, release: (requestId: string) => Promise<void>): Shop {
    const ledger = { reserve: ({ requestId }: { requestId: string }) => reserve(requestId), release }
    releases = new Releases({ ledger, log, retryMs: 10, settledMs: 50 })
    const consent = { require: async () => ({ number: 1, timestamp: 1 }) }
    const dispatcher = { workers: () => [] }
    return { ledger, releases, consent, dispatcher, owner: 'test', log } as unknown as Shop
  }
  const model = { manifest: { name: 'any' }, offers: [] }
  const order = { model, quote: { modelId: '0x', units: 1n, unitPrice: 1n, max: 1n } } as unknown as Order
  const payer = {
    accountId: '0x',
    key: '0x',
    models: [],
    purposes: [],
    jurisdictions: [],
    idempotencyKey: null,
    voucher: null,
    signer: null,
  }
  const refused = (shop: Shop) => sell(shop, order, payer).catch((error: unknown) => error)

  it('releases a reservation that happened although its answer was lost', async () => {
    const shop = shopWith(
      async (requestId) => {
        reserved.add(requestId)
        throw unavailable()
      },
      async (requestId) => void reserved.delete(requestId),
    )
    expect(await refused(shop)).toMatchObject({ code: 'ledger.unavailable' })
    await expect.poll(() => reserved.size).toBe(0)
  })

  it('releases a reservation that happens only after it was given up', async () => {
    let happened = false
    const shop = shopWith(
      async (requestId) => {
        void delay(30).then(() => {
          happened = true
          reserved.add(requestId)
        })
        throw unavailable()
      },
      async (requestId) => void reserved.delete(requestId),
    )
    expect(await refused(shop)).toMatchObject({ code: 'ledger.unavailable' })
    await expect.poll(() => happened && reserved.size === 0).toBe(true)
  })

  it('goes on trying while the ledger is away', async () => {
    let away = true
    const shop = shopWith(
      async (requestId) => {
        reserved.add(requestId)
        throw unavailable()
      },
      async (requestId) => {
        if (away) throw unavailable()
        reserved.delete(requestId)
      },
    )
    expect(await refused(shop)).toMatchObject({ code: 'ledger.unavailable' })
    expect(reserved.size).toBe(1)
    away = false
    await expect.poll(() => reserved.size).toBe(0)
  })
})
