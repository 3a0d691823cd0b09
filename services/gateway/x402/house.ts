import { TypedDataEncoder, type Wallet } from 'ethers'
import { accountIdOf, NO_USAGE } from '../../core/accounts.ts'
import { GranaryError } from '../../core/errors.ts'
import { digestOf, domainOf, type Verifier } from '../../core/messages.ts'
import { MAX_AMOUNT } from '../../core/money.ts'
import type { Chain, Ledger } from '../../core/ports.ts'
import type { AccountConfig } from '../../core/selling-ledger.ts'
import type { ExactRail } from '../../core/x402.ts'

/** The router's account in the escrow: what was paid by x402 settles from here. */
export interface House {
  rail: ExactRail
  accountId: string
  /** Signs its vouchers, sweeps and refunds. */
  signer: Wallet
  key: string
  router: Verifier
}

export interface HouseOptions {
  chain: Chain
  ledger: Pick<Ledger, 'openHouse' | 'acceptVoucher'>
  escrow: Verifier
  token: string
  tokenDomain: { name: string; version: string }
  collector: string
  signer: Wallet
  maxTimeoutSeconds: number
}

/** Null where the deployment names no router. Refuses one that is not ours: money would arrive where we can't settle it. */
export async function openHouse(options: HouseOptions): Promise<House | null> {
  const { chain, ledger, escrow, token, tokenDomain, collector, signer, maxTimeoutSeconds } = options
  const address = chain.addresses.X402Router
  if (address === undefined) return null
  const key = signer.address.toLowerCase()
  const read = async (method: string) => chain.read({ contract: 'X402Router', method, args: [] })
  const expected = { ESCROW: escrow.address, TOKEN: token, COLLECTOR: collector, KEY: key }
  for (const [method, value] of Object.entries(expected)) {
    const actual = String(await read(method))
    if (actual !== value)
      throw new GranaryError('config.invalid', `The x402 router ${address} has the ${method} ${actual}, not ${value}.`, {
        actual,
      })
  }
  const rail: ExactRail = {
    token: { chainId: chain.chainId, address: token, ...tokenDomain },
    router: address,
    maxTimeoutSeconds,
  }
  await requireDomain(chain, rail)
  const config: AccountConfig = {
    payer: address,
    collector,
    thawSeconds: Number(await read('THAW_SECONDS')),
    salt: `0x${'00'.repeat(32)}`,
  }
  const accountId = accountIdOf(config, { ...escrow, token })
  await ledger.openHouse(accountId, config)
  // Without a limit: only what was swept can be charged, and only by batches of this collector.
  const voucher = { accountId, key, ceiling: MAX_AMOUNT, usageHead: NO_USAGE }
  const signature = signer.signingKey.sign(digestOf('InferenceEscrow', 'Voucher', escrow, voucher)).serialized
  await ledger.acceptVoucher({ ...voucher, signature })
  return { rail, accountId, signer, key, router: { chainId: chain.chainId, address } }
}

/** Clients sign under name, version, chain and address; a token whose domain is another would refuse every payment. */
async function requireDomain(chain: Chain, { token }: ExactRail): Promise<void> {
  const actual = await chain.read({ contract: 'Token', method: 'DOMAIN_SEPARATOR', args: [] })
  if (actual === TypedDataEncoder.hashDomain(domainOf('Token', token))) return
  throw new GranaryError('config.invalid', `The token ${token.address} does not sign under its name() and version().`, {
    name: token.name,
    version: token.version,
  })
}
