import { GranaryError } from '../core/errors.ts'
import { formatDollars } from '../core/money.ts'
import { momentText } from './moment.ts'

type Refusal = (args: (name: string, index: number) => string, now: number | null) => GranaryError

/** The escrow's typed errors that a person meets on the way out. */
const refusals: Record<string, Refusal> = {
  EscrowStillThawing(args, now) {
    const endsAt = Number(args('endsAt', 1))
    const text = momentText(endsAt, now ?? Number(args('at', 0)))
    return new GranaryError('thaw.running', `The money thaws until ${text}; it can be withdrawn from then on.`, { endsAt })
  },
  EscrowNothingThawing: (args) =>
    new GranaryError('thaw.none', 'Nothing of this account is thawing.', { accountId: args('accountId', 0) }),
  EscrowAmountInvalid(args) {
    const asked = args('amount', 0)
    const text = `${formatDollars(BigInt(asked))} dollars are more than what is deposited and not charged.`
    return new GranaryError('thaw.too-much', text, { asked })
  },
  EscrowNothingToClaim: (args) =>
    new GranaryError('credit.none', `Nothing is owed to ${args('account', 0).toLowerCase()}.`, { account: args('account', 0) }),
  EscrowNotPayer: (args) =>
    new GranaryError('credential.forbidden', `Only ${args('payer', 1).toLowerCase()} disposes of this account.`, {
      payer: args('payer', 1),
    }),
}

/** What the contract refused, said for who asked; the gateway names the error's arguments, a node of one's own numbers them. */
export function refusalInWords(error: unknown, { now }: { now: number | null }): unknown {
  if (!(error instanceof GranaryError) || typeof error.evidence.error !== 'string') return error
  const { error: name, args } = error.evidence
  if (!Object.hasOwn(refusals, name) || typeof args !== 'object' || args === null) return error
  const given = args as Record<string, unknown>
  return refusals[name]?.((field, index) => String(given[field] ?? given[index]), now) ?? error
}
