import { type ApiKeyFacts, formatDollars, type LimitsRequest, type Usage } from '../sdk/index.ts'
import { amount, argument, type Command, given, type Invocation, listed, open, whole } from './invocation.ts'

const DEFAULT_KEY_SECONDS = 90 * 24 * 3600
const LIMITS = '[--per-minute N] [--parallel N] [--per-day DOLLARS] [--per-month DOLLARS]'
const CREDENTIAL = '(--key-file F, or GRANARY_API_KEY for what that key has bought)'

/** Chapter 5, the payer's side: money, API keys, limits, usage and bills. */
export const accountCommands: Record<string, Command> = {
  'account deposit': {
    usage: 'account deposit DOLLARS --key-file F',
    says: 'deposits by signature, without gas',
    async run(invocation) {
      const dollars = amount(argument(invocation, 0, 'DOLLARS'), 'DOLLARS')
      const deposited = await (await open(invocation)).account.deposit(dollars)
      return { lines: [`deposited into account ${deposited.accountId}`], value: deposited }
    },
  },
  'account show': {
    usage: 'account show --key-file F',
    says: 'deposit, charges and ceilings as the gateway has them',
    async run(invocation) {
      const standing = await (await (await open(invocation)).account.meter({ maxPerRequest: 0n })).standing()
      if (!standing) return { lines: ['no confirmed deposit here yet'], value: null }
      return { lines: Object.entries(standing).map(([name, value]) => `${name.padEnd(16)} ${value}`), value: standing }
    },
  },
  'account statement': {
    usage: 'account statement --key-file F',
    says: 'the latest requests, what each cost and whether it is settled',
    async run(invocation) {
      const lines = await (await (await open(invocation)).account.meter({ maxPerRequest: 0n })).statement(100)
      return {
        lines: lines.map(
          ({ sequence, modelId, charged, state }) => `${sequence}  ${modelId?.slice(0, 12)}…  ${charged}  ${state}`,
        ),
        value: lines,
      }
    },
  },
  'account key': {
    usage: `account key --cap DOLLARS [--label L] [--models M,M] [--purposes P,P] [--jurisdictions DE,FR] ${LIMITS} --key-file F`,
    says: 'makes an API key; its cap is money entrusted to the gateway',
    async run(invocation) {
      const { flags } = invocation
      const cap = amount(flags.cap, '--cap')
      const scope = given({
        models: listed(flags.models),
        purposes: listed(flags.purposes),
        jurisdictions: listed(flags.jurisdictions),
      })
      const made = await (await open(invocation)).account.createApiKey({
        cap,
        lifeSeconds: DEFAULT_KEY_SECONDS,
        label: String(flags.label ?? 'cli'),
        ...scope,
        ...(isLimited(invocation) ? { limits: limitsOf(invocation) } : {}),
      })
      return { lines: [made.apiKey, `This is shown once. Its id is ${made.keyId}. It can spend at most the cap.`], value: made }
    },
  },
  'account keys': {
    usage: 'account keys --key-file F',
    says: 'the API keys of the account: what they may do, what they have spent, whether they still work',
    async run(invocation) {
      const keys = await (await open(invocation)).account.apiKeys()
      return { lines: keys.length === 0 ? ['no API keys'] : keys.map(lineOfKey), value: keys }
    },
  },
  'account rotate': {
    usage: 'account rotate KEYID [--grace SECONDS] --key-file F',
    says: 'a new secret for an API key; the old one is taken for --grace seconds more (0)',
    async run(invocation) {
      const graceSeconds = Number(whole(String(invocation.flags.grace ?? '0'), '--grace'))
      const keyId = argument(invocation, 0, 'KEYID')
      const made = await (await open(invocation)).account.rotateApiKey(keyId, { graceSeconds })
      return { lines: [made.apiKey, `This is shown once. Its id is ${made.keyId}; ${keyId} is replaced.`], value: made }
    },
  },
  'account revoke': {
    usage: 'account revoke KEYID --key-file F',
    says: 'ends an API key here, and the escrow key behind it on chain',
    async run(invocation) {
      const ended = await (await open(invocation)).account.revokeApiKey(argument(invocation, 0, 'KEYID'))
      const chain = ended.onChain ? 'and its escrow key on chain' : 'here; another API key uses its escrow key'
      return { lines: [`revoked ${chain}`], value: ended }
    },
  },
  'account limit': {
    usage: `account limit [KEYID] ${LIMITS} --key-file F`,
    says: 'limits of an API key or, without KEYID, of the whole account; what is left out is not limited any more',
    async run(invocation) {
      const limits = await (await open(invocation)).account.setLimits(invocation.args[0] ?? null, limitsOf(invocation))
      return { lines: Object.entries(limits).map(([name, value]) => `${name.padEnd(18)} ${value ?? '-'}`), value: limits }
    },
  },
  'account usage': {
    usage: `account usage [--from 2026-11-01] [--to 2026-11-30] [--csv] ${CREDENTIAL}`,
    says: 'what was bought by day, model and key, and what it cost',
    async run(invocation) {
      const books = await booksOf(invocation)
      const { from, to, csv } = invocation.flags
      const query = given({ from: textOf(from), to: textOf(to) })
      if (csv === true) {
        const text = await books.usageCsv(query)
        return { lines: [text.trimEnd()], value: text }
      }
      const report = await books.usage(query)
      const lines = report.lines.map(
        ({ day, model, modelId, label, key, requests, units, charged }) =>
          `${day}  ${(model ?? modelId.slice(0, 12)).padEnd(20)} ${(label || key.slice(0, 12)).padEnd(14)} ` +
          `${String(requests).padStart(7)} requests ${units.padStart(9)} units ${formatDollars(BigInt(charged)).padStart(14)}`,
      )
      return { lines: [...lines, `total ${formatDollars(BigInt(report.total.charged))}`], value: report }
    },
  },
  'account bill': {
    usage: `account bill [--month 2026-11] [--html] ${CREDENTIAL}`,
    says: 'one month to print: text, or with --html a page to redirect into a file',
    async run(invocation) {
      const { month, html } = invocation.flags
      const format = html === true ? 'html' : 'text'
      const text = await (await booksOf(invocation)).bill({ format, ...given({ month: textOf(month) }) })
      return { lines: [text.trimEnd()], value: text }
    },
  },
}

async function booksOf(invocation: Invocation): Promise<Usage> {
  const granary = await open(invocation)
  const { wallet, apiKey } = invocation.config
  return wallet === null && apiKey !== null ? granary.booksOf(apiKey) : granary.account.books
}

function isLimited({ flags }: Invocation): boolean {
  return [flags['per-minute'], flags.parallel, flags['per-day'], flags['per-month']].some((flag) => flag !== undefined)
}

function limitsOf({ flags }: Invocation): LimitsRequest {
  const count = (name: string) => (flags[name] === undefined ? undefined : Number(whole(String(flags[name]), `--${name}`)))
  const dollars = (name: string) => (flags[name] === undefined ? undefined : amount(flags[name], `--${name}`))
  return given({
    requestsPerMinute: count('per-minute'),
    parallel: count('parallel'),
    budgetPerDay: dollars('per-day'),
    budgetPerMonth: dollars('per-month'),
  })
}

function lineOfKey({ keyId, label, revoked, endsAt, spent, cap, models, purposes, jurisdictions }: ApiKeyFacts): string {
  const state = revoked ? 'revoked' : endsAt === null ? 'works' : `replaced, ends at ${endsAt}`
  const scope = [...models.map((model) => model.slice(0, 12)), ...purposes, ...jurisdictions].join(' ') || 'anything'
  const money = `${formatDollars(BigInt(spent))} of ${cap === null ? '?' : formatDollars(BigInt(cap))}`
  return `${keyId}  ${label.padEnd(14)} ${state.padEnd(10)} ${money}  ${scope}`
}

function textOf(flag: string | boolean | undefined): string | undefined {
  return typeof flag === 'string' ? flag : undefined
}
