import { setTimeout as delay } from 'node:timers/promises'
import { ExactEvmScheme } from '@x402/evm/exact/client'
import { wrapFetchWithPayment, x402Client } from '@x402/fetch'
import type { Wallet } from 'ethers'
import { privateKeyToAccount } from 'viem/accounts'
import type { Draw } from './draw.ts'

/** What one payer by x402 knows in the end. */
export interface Coins {
  payer: string
  /** What it held before. */
  funds: bigint
  /** Each request's id with the charge that its answer told. */
  charges: Map<string, bigint>
  /** By status; 0 where the connection was lost. Its client signs a new payment for the next try. */
  refusals: Map<number, number>
}

export interface CoinBuyerOptions {
  wallet: Wallet
  funds: bigint
  chainId: bigint
  gatewayUrl: string
  model: string
  draw: Draw
  signal: AbortSignal
}

const MAX_PAUSE_MS = 500
const PAUSE_AFTER_REFUSAL_MS = 500

/** Buys with the unmodified client of x402, a payment for each request, until it is told to stop. */
export function startCoinBuyer(options: CoinBuyerOptions): { coins: Coins; ended: Promise<void> } {
  const coins: Coins = {
    payer: options.wallet.address.toLowerCase(),
    funds: options.funds,
    charges: new Map(),
    refusals: new Map(),
  }
  return { coins, ended: payInto(coins, options) }
}

async function payInto({ charges, refusals }: Coins, options: CoinBuyerOptions): Promise<void> {
  const { wallet, chainId, gatewayUrl, model, draw, signal } = options
  const client = new x402Client().register(
    `eip155:${chainId}`,
    new ExactEvmScheme(privateKeyToAccount(wallet.privateKey as `0x${string}`)),
  )
  client.setSpendControls(false)
  const pay = wrapFetchWithPayment(fetch, client)
  while (!signal.aborted) {
    const body = JSON.stringify({ model, inputs: { text: `offer number ${draw.below(1000)}` } })
    const sent = { method: 'POST', headers: { 'content-type': 'application/json' }, body }
    // A connection that breaks, or a 402 that can't be read to its end.
    const response = await pay(`${gatewayUrl}/v1/infer`, sent).catch(() => null)
    const answer = response?.ok ? ((await response.json().catch(() => null)) as { id: string; charged: string } | null) : null
    if (answer) charges.set(answer.id, BigInt(answer.charged))
    else {
      const status = response?.status ?? 0
      refusals.set(status, (refusals.get(status) ?? 0) + 1)
      await delay(PAUSE_AFTER_REFUSAL_MS)
    }
    await delay(draw.below(MAX_PAUSE_MS))
  }
}
