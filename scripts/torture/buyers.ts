import { setTimeout as delay } from 'node:timers/promises'
import type { Wallet } from 'ethers'
import { GranaryError } from '../../services/core/errors.ts'
import { Granary, type InferAnswer } from '../../services/sdk/index.ts'
import type { Draw } from './draw.ts'
import type { Streamed } from './stream-buyers.ts'

/** What one buyer knows in the end: each idempotency key with the charge that its answer told. */
export interface Bought {
  accountId: string
  charges: Map<string, bigint>
  /** By the request's id. */
  streams: Map<string, Streamed>
  /** Answers that arrived at the machine and were thrown away, so that the request had to be repeated. */
  lost: number
  refusals: Map<string, number>
}

export interface BuyerOptions {
  wallet: Wallet
  gatewayUrl: string
  rpcUrl: string
  model: string
  /** Buys with it rather than by voucher. */
  apiKey: string | null
  draw: Draw
  signal: AbortSignal
}

const LOST_ANSWERS = 0.04
const MAX_PER_REQUEST = 1_000_000n
const MAX_PAUSE_MS = 30
const PAUSE_AFTER_REFUSAL_MS = 250

export function newBought(): Bought {
  return { accountId: '', charges: new Map(), streams: new Map(), lost: 0, refusals: new Map() }
}

/** Buys until it is told to stop, one at a time; each request is repeated under its key until it is answered, whatever happens. */
export function startBuyer(options: BuyerOptions): { bought: Bought; ended: Promise<void> } {
  const bought = newBought()
  return { bought, ended: buyInto(bought, options) }
}

async function buyInto(bought: Bought, options: BuyerOptions): Promise<void> {
  const { wallet, gatewayUrl, rpcUrl, model, apiKey, draw, signal } = options
  const lossy: typeof fetch = async (...sent) => {
    const response = await fetch(...sent)
    if (!String(sent[0]).endsWith('/v1/infer') || !draw.chance(LOST_ANSWERS)) return response
    await response.arrayBuffer()
    bought.lost += 1
    throw new TypeError('fetch failed: the answer was lost')
  }
  const granary = await insist(() => Granary.open({ gatewayUrl, rpcUrl, wallet, fetch: lossy }), bought)
  const meter = await granary.account.meter({ maxPerRequest: MAX_PER_REQUEST })
  bought.accountId = meter.accountId
  for (let count = 0; !signal.aborted; count += 1) {
    const idempotencyKey = `${apiKey === null ? 'voucher' : 'key'}-${count}`
    const body = { model, inputs: { text: `offer number ${draw.below(1000)}` } }
    const buy = (): Promise<InferAnswer> =>
      apiKey === null ? meter.infer(body, { idempotencyKey }) : granary.infer(body, { apiKey, idempotencyKey })
    const { charged } = await insist(buy, bought)
    bought.charges.set(idempotencyKey, BigInt(charged))
    await delay(draw.below(MAX_PAUSE_MS))
  }
}

/** Until it works; what no repeat can mend is thrown. */
export async function insist<T>(act: () => Promise<T>, { refusals }: Bought): Promise<T> {
  for (;;) {
    try {
      return await act()
    } catch (error) {
      if (!(error instanceof GranaryError) || !error.retryable) throw error
      refusals.set(error.code, (refusals.get(error.code) ?? 0) + 1)
      await delay(PAUSE_AFTER_REFUSAL_MS)
    }
  }
}
