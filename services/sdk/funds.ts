import { GranaryError } from '../core/errors.ts'
import { formatDollars } from '../core/money.ts'
import { refusalInWords } from './funds-refusals.ts'
import type { FundsAct, FundsWay } from './funds-way.ts'
import { momentText } from './moment.ts'

/** What the chain says about an account, in base units; times are chain time in seconds. */
export interface FundsStanding {
  accountId: string
  payer: string
  /** All that came in, less what was withdrawn. */
  deposit: bigint
  /** Settled. What was used since is known to the gateway only. */
  charged: bigint
  thawing: bigint
  /** 0 where nothing thaws. */
  thawEndsAt: number
  /** What `withdraw` would pay now. */
  withdrawable: bigint
  /** What providers, collectors and the treasury have earned and not claimed; of the payer's own address. */
  credit: bigint
  now: number
}

/** Null where an act was signed and not sent. */
export interface FundsChange {
  accountId: string
  amount: bigint | null
  transaction: string
}

/**
 * Chapter 5: how money leaves the escrow, by a person's signature or by a transaction of their own. A thaw says how much goes;
 * until it ends, collectors settle what was used before, and whatever is left of it can be withdrawn.
 */
export class Funds {
  readonly #way: FundsWay

  constructor(way: FundsWay) {
    this.#way = way
  }

  /** Asks a node of the caller's choice: needs `rpcUrl`. */
  async standing(): Promise<FundsStanding> {
    const standing = await this.#look()
    if (standing) return standing
    throw new GranaryError('config.invalid', 'This is read from the chain, not from a gateway: give rpcUrl, or --rpc URL.')
  }

  /** Starts the clock on `amount`. A thaw under way would be replaced by it and begin anew: refused unless `restart`. */
  async startThaw(amount: bigint, { restart = false } = {}): Promise<FundsChange & { endsAt: number | null }> {
    if (amount <= 0n) throw new GranaryError('thaw.too-much', 'A thaw is of more than nothing.', { asked: amount.toString() })
    const account = await this.#way.account()
    const standing = await this.#look()
    if (standing) requireThawable(standing, { amount, restart })
    const { transaction, event } = await this.#send({ method: 'startThaw', of: { account }, fields: { amount } }, standing)
    return { accountId: this.#way.idOf(account), amount, transaction, endsAt: event ? Number(event.endsAt) : null }
  }

  async cancelThaw(): Promise<FundsChange> {
    const account = await this.#way.account()
    const standing = await this.#look()
    if (standing) requireThawing(standing)
    const { transaction } = await this.#send({ method: 'cancelThaw', of: { account }, fields: {} }, standing)
    return { accountId: this.#way.idOf(account), amount: standing?.thawing ?? null, transaction }
  }

  /** After the thaw: what thawed and was not charged meanwhile, to any address. */
  async withdraw({ to }: { to?: string } = {}): Promise<FundsChange & { to: string }> {
    const account = await this.#way.account()
    const standing = await this.#look()
    if (standing) requireOver(standing)
    const recipient = to ?? account.payer
    const sent = await this.#send({ method: 'withdraw', of: { account }, fields: { to: recipient } }, standing)
    const { transaction, event } = sent
    return { accountId: this.#way.idOf(account), amount: amountOf(event), transaction, to: recipient }
  }

  /** Pays out what the wallet's address has earned as a provider, collector or treasury, to any address. */
  async claimCredit({ to }: { to?: string } = {}): Promise<{ amount: bigint | null; transaction: string; to: string }> {
    const owner = await this.#way.owner()
    const recipient = to ?? owner
    const { transaction, event } = await this.#send({ method: 'claimCredit', of: { owner }, fields: { to: recipient } }, null)
    return { amount: amountOf(event), transaction, to: recipient }
  }

  async credit(): Promise<bigint> {
    const { read } = this.#way
    if (read === null) return (await this.standing()).credit
    return read<bigint>('credit', [await this.#way.owner()])
  }

  async #look(): Promise<FundsStanding | null> {
    const { read, now } = this.#way
    if (read === null) return null
    const account = await this.#way.account()
    const accountId = this.#way.idOf(account)
    const [balance, credit, time] = await Promise.all([
      read<Balance>('balance', [accountId]),
      read<bigint>('credit', [account.payer]),
      now(),
    ])
    const { deposit, charged, thawing } = balance
    const thawEndsAt = Number(balance.thawEndsAt)
    const left = deposit - charged
    const withdrawable = thawing > 0n && time >= thawEndsAt ? least(thawing, left) : 0n
    return { accountId, payer: account.payer, deposit, charged, thawing, thawEndsAt, withdrawable, credit, now: time }
  }

  async #send(act: FundsAct, standing: FundsStanding | null) {
    try {
      const { transaction, events } = await this.#way.send(act)
      return { transaction, event: events.find(({ name }) => name === eventOf[act.method])?.args }
    } catch (error) {
      throw refusalInWords(error, { now: standing?.now ?? null })
    }
  }
}

interface Balance {
  deposit: bigint
  charged: bigint
  thawing: bigint
  thawEndsAt: bigint
}

const eventOf: Record<FundsAct['method'], string> = {
  startThaw: 'ThawStarted',
  cancelThaw: 'ThawCancelled',
  withdraw: 'Withdrawn',
  claimCredit: 'CreditClaimed',
}

function requireThawable(standing: FundsStanding, { amount, restart }: { amount: bigint; restart: boolean }): void {
  const { accountId, deposit, charged, thawing, thawEndsAt, now } = standing
  if (deposit === 0n)
    throw new GranaryError('account.unknown', 'Nothing is deposited in this account.', { accountId, payer: standing.payer })
  if (thawing > 0n && !restart)
    throw new GranaryError(
      'thaw.running',
      `${formatDollars(thawing)} dollars thaw already, until ${momentText(thawEndsAt, now)}. Another thaw would replace this one and begin anew.`,
      { accountId, thawing: thawing.toString(), endsAt: thawEndsAt },
    )
  if (amount > deposit - charged)
    throw new GranaryError(
      'thaw.too-much',
      `${formatDollars(amount)} dollars are more than the ${formatDollars(deposit - charged)} that are deposited and not charged.`,
      { accountId, asked: amount.toString(), available: (deposit - charged).toString() },
    )
}

function requireThawing({ accountId, thawing }: FundsStanding): void {
  if (thawing > 0n) return
  throw new GranaryError('thaw.none', 'Nothing of this account is thawing.', { accountId })
}

function requireOver(standing: FundsStanding): void {
  requireThawing(standing)
  const { accountId, thawing, thawEndsAt, now } = standing
  if (now >= thawEndsAt) return
  throw new GranaryError(
    'thaw.running',
    `The ${formatDollars(thawing)} dollars thaw until ${momentText(thawEndsAt, now)}; they can be withdrawn from then on.`,
    { accountId, thawing: thawing.toString(), endsAt: thawEndsAt },
  )
}

function amountOf(event: Record<string, unknown> | undefined): bigint | null {
  return event === undefined ? null : BigInt(String(event.amount))
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b
}
