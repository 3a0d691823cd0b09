import { GranaryError } from '../core/errors.ts'
import type { Verifier } from '../core/messages.ts'
import { type ReceiptSignature, signReceipts } from '../core/receipt-signature.ts'
import type { CommittedTogether } from '../core/selling-ledger.ts'

/** Signs each group of receipts once, when the first of them is asked for; a group is known by its list, for as long as the ledger holds that. */
export function openReceiptSigner(by: {
  escrow: Verifier
  sign: (digest: string) => string
}): (committed: CommittedTogether) => ReceiptSignature {
  const groups = new WeakMap<readonly string[], Map<string, ReceiptSignature>>()
  return ({ head, group }) => {
    const signed = groups.get(group) ?? signReceipts(group, by)
    groups.set(group, signed)
    const signature = signed.get(head)
    if (!signature) throw new GranaryError('internal', 'A receipt is not in its own group.', { head })
    return signature
  }
}
