import { GranaryError } from '../core/errors.ts'
import type { LimitReached } from '../core/limits.ts'
import type { KeyStanding, Reserved } from '../core/selling-ledger.ts'
import type { Payer } from './payer.ts'

type Refused = Exclude<Reserved, { ok: true } | { reason: 'repeated' }>

/** Why nothing was reserved, in the caller's words; `standing` for what is missing where money is short. */
export function refusalOf(reserved: Refused, { accountId, key, signer }: Payer, standing: KeyStanding | null): GranaryError {
  // Who holds an API key learns nothing of the rest of the account.
  const isHolder = signer !== null
  switch (reserved.reason) {
    case 'conflict':
      return new GranaryError('idempotency.conflict', 'This Idempotency-Key was used for another body.', {
        requestId: reserved.requestId,
      })
    case 'account-unknown':
      return new GranaryError('account.unknown', 'This account has no confirmed deposit here.', { accountId })
    case 'key-ended':
      return new GranaryError('credential.ended', 'The escrow key was revoked, has expired or was never granted.', {
        accountId,
        key,
      })
    case 'limited':
      return limitedBy(reserved.reached, { accountId, key, isHolder })
    case 'insufficient': {
      const { limit, available, required } = reserved
      const code = limit === 'ceiling' ? 'voucher.stale' : 'payment.insufficient'
      const what = { ceiling: 'signed ceiling', cap: "key's cap", deposit: 'deposit' }[limit]
      return new GranaryError(code, `The ${what} does not cover this request.`, {
        limit,
        ...(limit === 'deposit' && isHolder ? {} : { available: available.toString() }),
        required: required.toString(),
        // The least ceiling with which the request would pass now.
        ...(standing ? { signAtLeast: (standing.spent + standing.reserved + required).toString() } : {}),
        accountId,
        key,
      })
    }
  }
}

function limitedBy(
  reached: LimitReached,
  { isHolder, ...whose }: { accountId: string; key: string; isHolder: boolean },
): GranaryError {
  const { of, limit, most, used, resetsAt, resetsInSeconds } = reached
  const facts = {
    limit,
    of,
    most: most.toString(),
    ...(of === 'account' && isHolder ? {} : { used: used.toString() }),
    ...(resetsAt === null ? {} : { resetsAt }),
    retryAfterSeconds: resetsInSeconds ?? 1,
    ...whose,
  }
  switch (limit) {
    case 'requestsPerMinute':
      return new GranaryError('rate.limited', `This ${of} may send ${most} requests a minute.`, facts)
    case 'parallel':
      return new GranaryError('parallel.limited', `This ${of} may have ${most} requests running at a time.`, facts)
    case 'budgetPerDay':
    case 'budgetPerMonth':
      return new GranaryError('budget.exhausted', `The rest of this ${of}'s budget does not cover the request.`, facts)
  }
}
