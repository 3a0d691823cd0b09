import { Funds, formatDollars, GranaryError, momentText, openOwnWay } from '../sdk/index.ts'
import { amount, argument, type Command, given, type Invocation, open, whole } from './invocation.ts'

const WAY = '[--direct [--escrow ADDRESS]] [--account ID] --key-file F'

/** Chapter 5, the way out: what is deposited, thaw, withdrawal, credit. */
export const fundsCommands: Record<string, Command> = {
  'account balance': {
    usage: `account balance --rpc URL ${WAY}`,
    says: 'deposit, charges, thaw and credit as the chain has them; with --direct no gateway is asked',
    async run(invocation) {
      const standing = await (await fundsOf(invocation)).standing()
      const { accountId, deposit, charged, thawing, thawEndsAt, withdrawable, credit, now } = standing
      const ends = thawing > 0n ? `, until ${momentText(thawEndsAt, now)}` : ''
      const lines = [
        `account       ${accountId}`,
        `deposited     ${money(deposit)}`,
        `charged       ${money(charged)}, settled so far`,
        `left          ${money(deposit - charged)}`,
        `thawing       ${money(thawing)}${ends}`,
        `withdrawable  ${money(withdrawable)}`,
        `credit        ${money(credit)}, earned by ${standing.payer}`,
      ]
      return { lines, value: jsonSafe(standing) }
    },
  },
  'account thaw': {
    usage: `account thaw DOLLARS|all [--restart] ${WAY}`,
    says: 'announces a withdrawal; by signature, or with --direct by a transaction of your own',
    async run(invocation) {
      const funds = await fundsOf(invocation)
      const asked = argument(invocation, 0, 'DOLLARS')
      const thawing = asked === 'all' ? await allOf(funds) : amount(asked, 'DOLLARS')
      const started = await funds.startThaw(thawing, { restart: invocation.flags.restart === true })
      const { endsAt, transaction } = started
      const lines = [
        `thawing ${money(thawing)} of account ${started.accountId}, in transaction ${transaction}`,
        ...(endsAt === null ? [] : [`it ends on ${momentText(endsAt, null)}; then: granary account withdraw`]),
        'Until then gateways settle what was used before, and no longer count this money for new requests.',
      ]
      return { lines, value: jsonSafe(started) }
    },
  },
  'account cancel-thaw': {
    usage: `account cancel-thaw ${WAY}`,
    says: 'takes a thaw back: the money pays for requests again',
    async run(invocation) {
      const cancelled = await (await fundsOf(invocation)).cancelThaw()
      const what = cancelled.amount === null ? 'the thaw' : `the thaw of ${money(cancelled.amount)}`
      return { lines: [`cancelled ${what}, in transaction ${cancelled.transaction}`], value: jsonSafe(cancelled) }
    },
  },
  'account withdraw': {
    usage: `account withdraw [--to ADDRESS] ${WAY}`,
    says: 'pays out what has thawed and was not charged meanwhile',
    async run(invocation) {
      const withdrawn = await (await fundsOf(invocation)).withdraw(recipientOf(invocation))
      return { lines: [paid('withdrew', withdrawn)], value: jsonSafe(withdrawn) }
    },
  },
  'earnings credit': {
    usage: 'earnings credit [--to ADDRESS] [--direct [--escrow ADDRESS]] --key-file F',
    says: 'pays out what the key’s address has earned as a provider, collector or treasury',
    async run(invocation) {
      const claimed = await (await fundsOf(invocation)).claimCredit(recipientOf(invocation))
      return { lines: [paid('claimed', claimed)], value: jsonSafe(claimed) }
    },
  },
}

/** By signature through a gateway; with --direct from the wallet itself, and then no gateway need be there. */
async function fundsOf(invocation: Invocation): Promise<Funds> {
  const { config, flags } = invocation
  const chosen = given({ accountId: typeof flags.account === 'string' ? flags.account.toLowerCase() : undefined })
  if (flags.direct !== true) return (await open(invocation)).account.funds(chosen)
  if (flags.export !== undefined)
    throw new GranaryError('request.malformed', '--direct sends at once and --export never does: give one of them.')
  const { rpcUrl, wallet, local } = config
  if (rpcUrl === null || wallet === null)
    throw new GranaryError(
      'config.invalid',
      'With --direct, give --rpc URL and --key-file F: your own wallet sends and pays the gas.',
    )
  const known = flags.escrow ?? (local?.rpcUrl === rpcUrl ? local.contracts.InferenceEscrow : undefined)
  const escrow = typeof known === 'string' ? known : (await open(invocation)).context.facts.escrow
  const fromBlock = flags['from-block'] === undefined ? 0 : Number(whole(String(flags['from-block']), '--from-block'))
  return new Funds(await openOwnWay({ rpcUrl, escrow, wallet, fromBlock, ...chosen }))
}

/** What is used and not settled yet is paid first; a withdrawal pays what is left by then. */
async function allOf(funds: Funds): Promise<bigint> {
  const { deposit, charged } = await funds.standing()
  if (deposit > charged) return deposit - charged
  throw new GranaryError('thaw.too-much', 'Nothing is left in this account: all that was deposited is charged or withdrawn.')
}

function recipientOf({ flags }: Invocation): { to?: string } {
  if (flags.to === undefined) return {}
  const to = String(flags.to)
  if (!/^0x[0-9a-fA-F]{40}$/.test(to) || /^0x0{40}$/.test(to))
    throw new GranaryError('request.malformed', `--to is an address, not "${to}".`)
  return { to: to.toLowerCase() }
}

function paid(verb: string, done: { amount: bigint | null; to: string; transaction: string }): string {
  return `${verb} ${done.amount === null ? '' : `${money(done.amount)} `}to ${done.to}, in transaction ${done.transaction}`
}

function money(amount: bigint): string {
  return `${formatDollars(amount)} dollars (${amount} base units)`
}

function jsonSafe(value: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(value).map(([name, field]) => [name, typeof field === 'bigint' ? field.toString() : field]),
  )
}
