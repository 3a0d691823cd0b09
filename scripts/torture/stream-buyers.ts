import { setTimeout as delay } from 'node:timers/promises'
import { GranaryError } from '../../services/core/errors.ts'
import { Granary } from '../../services/sdk/index.ts'
import type { Meter } from '../../services/sdk/meter.ts'
import { type Bought, type BuyerOptions, insist, newBought } from './buyers.ts'

/** What came of one streamed answer. */
export interface Streamed {
  /** Cost of the steps that came. */
  came: bigint
  /** What its receipt says; null where none came. */
  told: bigint | null
  /** Its buyer hung up: what was on its way is charged too. */
  left: boolean
}

const MAX_PER_STREAM = 20_000_000n
const MAX_TEXTS = 400
const LEAVES = 0.2
const MAX_PAUSE_MS = 200
const PAUSE_AFTER_CUT_MS = 250

/** Reads streams until it is told to stop; what is cut short is not asked for again. */
export function startStreamBuyer(options: Omit<BuyerOptions, 'apiKey'>): { bought: Bought; ended: Promise<void> } {
  const bought = newBought()
  return { bought, ended: readInto(bought, options) }
}

async function readInto(bought: Bought, options: Omit<BuyerOptions, 'apiKey'>): Promise<void> {
  const { wallet, gatewayUrl, rpcUrl, draw, signal } = options
  const granary = await insist(() => Granary.open({ gatewayUrl, rpcUrl, wallet }), bought)
  const meter = await granary.account.meter({ maxPerRequest: MAX_PER_STREAM })
  bought.accountId = meter.accountId
  while (!signal.aborted) {
    try {
      await readOne(meter, { ...options, bought })
    } catch (error) {
      if (!(error instanceof GranaryError) || !error.retryable) throw error
      bought.refusals.set(error.code, (bought.refusals.get(error.code) ?? 0) + 1)
      await delay(PAUSE_AFTER_CUT_MS)
    }
    await delay(draw.below(MAX_PAUSE_MS))
  }
}

async function readOne(meter: Meter, { model, draw, bought }: Omit<BuyerOptions, 'apiKey'> & { bought: Bought }): Promise<void> {
  const text = Array.from({ length: 1 + draw.below(MAX_TEXTS) }, () => `offer number ${draw.below(1000)}`)
  const leaves = draw.chance(LEAVES)
  const stream = await meter.inferStream({ model, inputs: { text } })
  for await (const { id, cost } of stream) {
    const left = leaves && draw.chance(0.3)
    bought.streams.set(id, { came: BigInt(cost), told: null, left })
    if (left) return
  }
  const { receipt } = stream
  if (receipt) bought.streams.set(receipt.id, { came: BigInt(receipt.charged), told: BigInt(receipt.charged), left: false })
}
