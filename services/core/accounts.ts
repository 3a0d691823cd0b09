import { AbiCoder, keccak256 } from 'ethers'
import { digestOf, signerOf, type Verifier } from './messages.ts'
import type { AccountConfig, KeyStanding, Voucher } from './selling-ledger.ts'

/** Chapter 5, the payer's side: which account, how much of it can be promised, and when a new ceiling must be signed. */

export const NO_USAGE = `0x${'00'.repeat(32)}`

/** The escrow's accountId: the EIP-712 digest of the configuration. */
export function accountIdOf(config: AccountConfig, escrow: Verifier & { token: string }): string {
  return digestOf('InferenceEscrow', 'Account', escrow, { ...config, token: escrow.token })
}

/** The EIP-3009 nonce that binds a deposit to one account: keccak256(abi.encode(accountId, salt)). */
export function depositNonceOf(accountId: string, salt: string): string {
  return keccak256(AbiCoder.defaultAbiCoder().encode(['bytes32', 'bytes32'], [accountId, salt]))
}

/** True if `voucher.key` itself signed the voucher for this escrow. `recover` may be a faster one than the default. */
export function isVoucherGenuine(voucher: Voucher, escrow: Verifier, recover = signerOf): boolean {
  const { signature, ...value } = voucher
  return recover(digestOf('InferenceEscrow', 'Voucher', escrow, value), signature)?.toLowerCase() === voucher.key
}

/** What one more request may cost at most, by the reserve rule. */
export function headroomOf(standing: KeyStanding): bigint {
  const { spent, reserved, ceiling, cap, deposit, thawing, accountCharged, accountReserved } = standing
  const byKey = least(ceiling, cap ?? ceiling) - spent - reserved
  const byAccount = deposit - thawing - accountCharged - accountReserved
  return least(byKey, byAccount)
}

/**
 * The ceiling to sign so that a request of `max` fits: ahead by `ahead` such requests, never above what cap and deposit
 * could ever pay; null when even the least one does not fit.
 */
export function nextCeiling(standing: KeyStanding, { max, ahead }: { max: bigint; ahead: bigint }): bigint | null {
  const { spent, reserved, cap, deposit, thawing, accountCharged, accountReserved } = standing
  const used = spent + reserved
  const fundable = used + (deposit - thawing - accountCharged - accountReserved)
  const limit = cap === null ? fundable : least(cap, fundable)
  if (used + max > limit) return null
  return least(used + max * ahead, limit)
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b
}
