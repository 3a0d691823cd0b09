import { createHash } from 'node:crypto'
import { Wallet } from 'ethers'
import { accountIdOf } from '../../../services/core/accounts.ts'
import type { AccountConfig } from '../../../services/core/selling-ledger.ts'

/** Of one request in base units: a tenth of a cent, as the stock server asks. */
export const UNIT_PRICE = 1000n

export interface EscrowFacts {
  chainId: bigint
  escrow: string
  token: string
  collector: string
  minThawSeconds: number
}

export interface Payer {
  wallet: Wallet
  /** Lower case. */
  address: string
  config: AccountConfig
  accountId: string
}

/** The same payer for the same number, in whichever process. */
export function payerOf(index: number, { chainId, escrow, token, collector, minThawSeconds }: EscrowFacts): Payer {
  const wallet = new Wallet(`0x${createHash('sha256').update(`granary bench payer ${index}`).digest('hex')}`)
  const address = wallet.address.toLowerCase()
  const config = { payer: address, collector, thawSeconds: minThawSeconds, salt: `0x${'00'.repeat(32)}` }
  return { wallet, address, config, accountId: accountIdOf(config, { chainId, address: escrow, token }) }
}
