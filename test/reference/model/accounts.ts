import { type Authority, type Cooperative, DAY, increase, notTheActOf, payOut, type Refusal } from './cooperative.ts'

export interface AccountConfig {
  payer: string
  collector: string
  thawSeconds: number
  salt: string
}

export interface Account extends AccountConfig {
  id: string
  deposit: bigint
  charged: bigint
  ownSpent: bigint
  thawing: bigint
  thawEndsAt: number
  keys: Map<string, Key>
  thawNonces: Set<number>
  authorizations: Set<string>
}

export interface Key {
  cap: bigint
  spent: bigint
  /** 0 = never granted. */
  notAfter: number
  /** 0 = not revoked. */
  revokedAt: number
  nonce: number
}

export interface CollectorFee {
  ppm: number
  raise: { ppm: number; effectiveAt: number } | null
}

/** An account as an act names it: its id is the digest of the rest. */
export type Named = AccountConfig & { id: string }

/** Amounts of an account have 80 bits. */
const AMOUNT_LIMIT = 1n << 80n
const MAX_THAW_SECONDS = 90 * DAY
const MAX_COLLECTOR_FEE_PPM = 100_000
const MAX_PROTOCOL_FEE_PPM = 50_000
const NOBODY = `0x${'0'.repeat(40)}`
const ESCROW = { sender: 'EscrowNotPayer', signature: 'EscrowSignatureInvalid', expired: 'EscrowSignatureExpired' }

/** What the cooperative knows of the account: nothing yet, if nobody ever used it. */
export function accountOf({ accounts }: Cooperative, { id, payer, collector, thawSeconds, salt }: Named): Account {
  const known = accounts.get(id)
  if (known !== undefined) return known
  const empty = { deposit: 0n, charged: 0n, ownSpent: 0n, thawing: 0n, thawEndsAt: 0 }
  const sets = { keys: new Map(), thawNonces: new Set<number>(), authorizations: new Set<string>() }
  const account: Account = { id, payer, collector, thawSeconds, salt, ...empty, ...sets }
  accounts.set(id, account)
  return account
}

/** Anyone deposits for anyone, from the depositor's own tokens. */
export function deposit(cooperative: Cooperative, named: Named, amount: bigint, { by }: Authority): Refusal[] {
  const refusals = refusalsOfDeposit(cooperative, { named, amount, from: by })
  if (refusals.length === 0) credit(cooperative, { named, amount, from: by })
  return refusals
}

export interface Authorization {
  amount: bigint
  validAfter: number
  validBefore: number
  /** The token refuses the same salt for the same account a second time. */
  salt: string
}

export function depositWithAuthorization(
  cooperative: Cooperative,
  named: Named,
  { amount, validAfter, validBefore, salt }: Authorization,
  { by }: Authority,
): Refusal[] {
  const account = accountOf(cooperative, named)
  const { now } = cooperative
  const refusals = refusalsOfDeposit(cooperative, { named, amount, from: named.payer })
  if (by !== named.payer) refusals.push('ERC3009InvalidSignature')
  if (now <= validAfter || now >= validBefore) refusals.push('ERC3009InvalidAuthorizationTime')
  if (account.authorizations.has(salt)) refusals.push('ERC3009UsedAuthorization')
  if (refusals.length > 0) return refusals
  account.authorizations.add(salt)
  credit(cooperative, { named, amount, from: named.payer })
  return []
}

interface Depositing {
  named: Named
  amount: bigint
  from: string
}

function refusalsOfDeposit(cooperative: Cooperative, { named, amount, from }: Depositing): Refusal[] {
  const refusals: Refusal[] = []
  const { maxSettlementSeconds } = cooperative.rules
  if (amount === 0n || accountOf(cooperative, named).deposit + amount >= AMOUNT_LIMIT) refusals.push('EscrowAmountInvalid')
  if (named.thawSeconds < 2 * maxSettlementSeconds) refusals.push('EscrowThawTooShort')
  if (named.thawSeconds > MAX_THAW_SECONDS) refusals.push('EscrowThawTooLong')
  if ((cooperative.tokens.get(from) ?? 0n) < amount) refusals.push('ERC20InsufficientBalance')
  return refusals
}

function credit(cooperative: Cooperative, { named, amount, from }: Depositing): void {
  increase(cooperative.tokens, from, -amount)
  increase(cooperative.tokens, cooperative.rules.escrow, amount)
  accountOf(cooperative, named).deposit += amount
}

export interface Grant {
  key: string
  cap: bigint
  notAfter: number
  nonce: number
}

/** Grants or widens; nothing but a revocation narrows, and that is for good. */
export function grantKey(cooperative: Cooperative, named: Named, grant: Grant, authority: Authority): Refusal[] {
  const account = accountOf(cooperative, named)
  const refusals = notTheActOf(named.payer, authority, { ...ESCROW, now: cooperative.now })
  const known = account.keys.get(grant.key) ?? { cap: 0n, spent: 0n, notAfter: 0, revokedAt: 0, nonce: 0 }
  if (grant.key === named.payer || grant.key === NOBODY) refusals.push('EscrowKeyInvalid')
  if (grant.cap >= AMOUNT_LIMIT) refusals.push('EscrowAmountInvalid')
  if (known.revokedAt > 0) refusals.push('EscrowKeyIsRevoked')
  if (grant.nonce <= known.nonce) refusals.push('EscrowNonceUsed')
  if (grant.notAfter === 0 || grant.cap < known.cap || grant.notAfter < known.notAfter) refusals.push('EscrowKeyNarrowed')
  if (refusals.length > 0) return refusals
  const { cap, notAfter, nonce } = grant
  account.keys.set(grant.key, { ...known, cap, notAfter, nonce })
  return []
}

/** Acceptance ends now, or ended at the key's expiry. A repeat changes nothing; a later grant finds it revoked. */
export function revokeKey(cooperative: Cooperative, named: Named, key: string, authority: Authority): Refusal[] {
  const account = accountOf(cooperative, named)
  const { now } = cooperative
  const refusals = notTheActOf(named.payer, authority, { ...ESCROW, now })
  if (key === named.payer || key === NOBODY) refusals.push('EscrowKeyInvalid')
  if (refusals.length > 0) return refusals
  const known = account.keys.get(key) ?? { cap: 0n, spent: 0n, notAfter: 0, revokedAt: 0, nonce: 0 }
  if (known.revokedAt > 0) return []
  account.keys.set(key, { ...known, revokedAt: known.notAfter === 0 ? now : Math.min(now, known.notAfter) })
  return []
}

/** With a nonce where it is signed. */
export function startThaw(
  cooperative: Cooperative,
  named: Named,
  { amount, nonce }: { amount: bigint; nonce: number | null },
  authority: Authority,
): Refusal[] {
  const account = accountOf(cooperative, named)
  const refusals = notTheActOf(named.payer, authority, { ...ESCROW, now: cooperative.now })
  if (nonce !== null && account.thawNonces.has(nonce)) refusals.push('EscrowNonceUsed')
  if (amount === 0n || amount > account.deposit - account.charged) refusals.push('EscrowAmountInvalid')
  if (refusals.length > 0) return refusals
  if (nonce !== null) account.thawNonces.add(nonce)
  account.thawing = amount
  account.thawEndsAt = cooperative.now + named.thawSeconds
  return []
}

export function cancelThaw(cooperative: Cooperative, named: Named, authority: Authority): Refusal[] {
  const account = accountOf(cooperative, named)
  const refusals = notTheActOf(named.payer, authority, { ...ESCROW, now: cooperative.now })
  if (account.thawing === 0n) refusals.push('EscrowNothingThawing')
  if (refusals.length === 0) account.thawing = 0n
  return refusals
}

/** What thawed and was not charged meanwhile; only the payer names another recipient. */
export function withdrawDeposit(cooperative: Cooperative, named: Named, to: string, { by }: Authority): Refusal[] {
  const account = accountOf(cooperative, named)
  const refusals: Refusal[] = []
  if (by !== named.payer && to !== named.payer) refusals.push('EscrowNotPayer')
  if (account.thawing === 0n) refusals.push('EscrowNothingThawing')
  else if (cooperative.now < account.thawEndsAt) refusals.push('EscrowStillThawing')
  if (refusals.length > 0) return refusals
  const uncharged = account.deposit - account.charged
  const amount = account.thawing < uncharged ? account.thawing : uncharged
  account.deposit -= amount
  account.thawing = 0n
  payOut(cooperative, to, amount)
  return []
}

/** A raise waits, so that what was served before it is settled under the old fee; anything else holds at once. */
export function setCollectorFee(cooperative: Cooperative, ppm: number, { by }: Authority): Refusal[] {
  if (ppm > MAX_COLLECTOR_FEE_PPM) return ['EscrowFeeTooHigh']
  const present = collectorFeeOf(cooperative, by)
  const effectiveAt = cooperative.now + cooperative.rules.maxSettlementSeconds
  const fee = ppm > present ? { ppm: present, raise: { ppm, effectiveAt } } : { ppm, raise: null }
  cooperative.collectorFees.set(by, fee)
  return []
}

export function collectorFeeOf({ collectorFees, now }: Cooperative, collector: string): number {
  const fee = collectorFees.get(collector)
  if (fee === undefined) return 0
  return fee.raise !== null && now >= fee.raise.effectiveAt ? fee.raise.ppm : fee.ppm
}

export function setProtocolFee(cooperative: Cooperative, ppm: number, { by }: Authority): Refusal[] {
  const refusals = by === cooperative.rules.timelock ? [] : ['ParametersNotTimelock']
  if (ppm > MAX_PROTOCOL_FEE_PPM) refusals.push('ParametersFeeTooHigh')
  if (refusals.length === 0) cooperative.protocolFeePpm = ppm
  return refusals
}

export function setTreasury(cooperative: Cooperative, treasury: string, { by }: Authority): Refusal[] {
  const refusals = by === cooperative.rules.timelock ? [] : ['ParametersNotTimelock']
  if (treasury === NOBODY) refusals.push('ParametersAddressInvalid')
  if (refusals.length === 0) cooperative.treasury = treasury
  return refusals
}

/** Pays a credit: to whom its owner says, or to the owner when anyone asks. */
export function claimCredit(cooperative: Cooperative, { owner, to }: { owner: string; to: string }): Refusal[] {
  const amount = cooperative.credits.get(owner) ?? 0n
  if (amount === 0n) return ['EscrowNothingToClaim']
  cooperative.credits.set(owner, 0n)
  payOut(cooperative, to, amount)
  return []
}
