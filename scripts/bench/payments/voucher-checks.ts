import { verifyTypedData, Wallet } from 'ethers'
import { recoverSigner } from '../../../services/adapters/signatures.ts'
import { isVoucherGenuine, NO_USAGE } from '../../../services/core/accounts.ts'
import { typedData, type Verifier } from '../../../services/core/messages.ts'
import type { Voucher } from '../../../services/core/selling-ledger.ts'

const VOUCHERS = 500
/** Looked at together between two looks at the clock. */
const ROUND = 50

/** Vouchers that one core checks in a second: as the gateway does, and as ethers does, on the same vouchers. */
export async function checksPerCoreSecond(seconds: number): Promise<{ ours: number; ethers: number }> {
  const escrow: Verifier = { chainId: 31337n, address: `0x${'5f'.repeat(20)}` }
  const wallet = Wallet.createRandom()
  const key = wallet.address.toLowerCase()
  const vouchers: Voucher[] = []
  for (let index = 1; index <= VOUCHERS; index += 1) {
    const value = { accountId: `0x${'a7'.repeat(32)}`, key, ceiling: BigInt(index), usageHead: NO_USAGE }
    const { domain, types } = typedData('InferenceEscrow', 'Voucher', escrow, value)
    vouchers.push({ ...value, signature: await wallet.signTypedData(domain, types, value) })
  }
  const byEthers = ({ signature, ...value }: Voucher) => {
    const { domain, types } = typedData('InferenceEscrow', 'Voucher', escrow, value)
    return verifyTypedData(domain, types, value, signature).toLowerCase() === key
  }
  return {
    ours: perCoreSecond(vouchers, { check: (voucher) => isVoucherGenuine(voucher, escrow, recoverSigner), seconds }),
    ethers: perCoreSecond(vouchers, { check: byEthers, seconds }),
  }
}

function perCoreSecond(
  vouchers: readonly Voucher[],
  { check, seconds }: { check: (voucher: Voucher) => boolean; seconds: number },
): number {
  const round = (start: number) => {
    for (let index = 0; index < ROUND; index += 1) {
      const voucher = vouchers[(start + index) % vouchers.length]
      if (!voucher || !check(voucher)) throw new Error('a genuine voucher was refused')
    }
  }
  for (let warm = 0; warm < 10; warm += 1) round(warm * ROUND)
  const before = process.cpuUsage()
  const until = performance.now() + seconds * 1000
  let checked = 0
  for (; performance.now() < until; checked += ROUND) round(checked)
  const { user, system } = process.cpuUsage(before)
  return checked / ((user + system) / 1e6)
}
