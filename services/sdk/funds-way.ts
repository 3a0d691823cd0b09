import { randomBytes } from '@noble/hashes/utils.js'
import { hexlify, type Signer } from 'ethers'
import { accountIdOf } from '../core/accounts.ts'
import { GranaryError } from '../core/errors.ts'
import type { MessageName } from '../core/messages.ts'
import type { AccountConfig } from '../core/selling-ledger.ts'
import { type Context, DEADLINE_SECONDS } from './context.ts'
import { type Contracts, chainIdOf, openContracts } from './contracts.ts'

/** One act on a person's own money, with its arguments in the contract's order. */
export interface FundsAct {
  method: 'startThaw' | 'cancelThaw' | 'withdraw' | 'claimCredit'
  of: { account: AccountConfig } | { owner: string }
  fields: Record<string, unknown>
}

/** How acts reach the chain, and what is known of it: through a gateway, or without any. */
export interface FundsWay {
  owner(): Promise<string>
  account(): Promise<AccountConfig>
  idOf(account: AccountConfig): string
  /** Of InferenceEscrow; null where no node is known. */
  read: (<T>(method: string, args: readonly unknown[]) => Promise<T>) | null
  now(): Promise<number>
  send(act: FundsAct): Promise<{ transaction: string; events: { name: string; args: Record<string, unknown> }[] }>
}

const signedAs: Record<FundsAct['method'], { method: string; message: MessageName<'InferenceEscrow'> }> = {
  startThaw: { method: 'startThawBySig', message: 'StartThaw' },
  cancelThaw: { method: 'cancelThawBySig', message: 'CancelThaw' },
  withdraw: { method: 'withdrawBySig', message: 'Withdraw' },
  claimCredit: { method: 'claimCreditBySig', message: 'ClaimCredit' },
}

const ESCROW = 'InferenceEscrow'

/** With a gateway's facts: by signature, which the gateway relays and pays for, or `direct`, by a transaction of the wallet's. */
export function wayOf(
  context: Context,
  { account, direct = false }: { account: () => Promise<AccountConfig>; direct?: boolean },
): FundsWay {
  const { facts, address, hasNode, contracts, now } = context
  const idOf = (config: AccountConfig) => accountIdOf(config, { ...context.verifier(ESCROW), token: facts.token })
  return {
    owner: address,
    account,
    idOf,
    read: hasNode ? (method, args) => contracts().read(ESCROW, method, args) : null,
    now: hasNode ? () => contracts().timestamp() : now,
    send: direct ? (act) => sendOwn(contracts(), act) : (act) => signAndRelay(context, { act, idOf }),
  }
}

async function signAndRelay(
  { sign, relay, now }: Context,
  { act, idOf }: { act: FundsAct; idOf: (config: AccountConfig) => string },
) {
  const { method, message } = signedAs[act.method]
  const nonce = BigInt(hexlify(randomBytes(16)))
  const deadline = (await now()) + DEADLINE_SECONDS
  const [subject, named] =
    'account' in act.of ? [act.of.account, { accountId: idOf(act.of.account) }] : [act.of.owner, { account: act.of.owner }]
  const signature = await sign(ESCROW, message, { ...named, ...act.fields, nonce, deadline })
  return relay(ESCROW, method, [subject, ...Object.values(act.fields), nonce, deadline, signature])
}

function sendOwn(contracts: Contracts, { method, of, fields }: FundsAct) {
  return contracts.send(ESCROW, method, [...('account' in of ? [of.account] : []), ...Object.values(fields)])
}

/** Without any gateway: a node, the escrow's address and the payer's wallet are enough, even if nothing else is left. */
export async function openOwnWay(options: {
  rpcUrl: string
  escrow: string
  wallet: Signer
  /** Needed only by who has several accounts. */
  accountId?: string
  fromBlock?: number
}): Promise<FundsWay> {
  const { rpcUrl, escrow, wallet } = options
  const chainId = await chainIdOf(rpcUrl)
  const contracts = openContracts({ rpcUrl, chainId, addresses: { [ESCROW]: escrow }, wallet })
  const token = await contracts.read<string>(ESCROW, 'TOKEN', [])
  const owner = async () => (await wallet.getAddress()).toLowerCase()
  let known: Promise<AccountConfig> | null = null
  return {
    owner,
    account() {
      known ??= owner().then((payer) => findAccount(contracts, { ...options, payer }))
      return known
    },
    idOf: (config) => accountIdOf(config, { chainId, address: escrow, token }),
    read: (method, args) => contracts.read(ESCROW, method, args),
    now: () => contracts.timestamp(),
    send: (act) => sendOwn(contracts, act),
  }
}

/** By what the chain says was deposited: the only account of `payer`, or the one of that id. */
export async function findAccount(
  contracts: Contracts,
  { payer, accountId, fromBlock = 0 }: { payer: string; accountId?: string; fromBlock?: number },
): Promise<AccountConfig> {
  const deposits = await contracts.events(ESCROW, { name: 'Deposited', indexed: [accountId ?? null, payer], fromBlock })
  const accounts = new Map(deposits.map(({ args }) => [String(args.accountId), configOf(args)]))
  const [only] = accounts.values()
  if (only && accounts.size === 1) return only
  if (!only) throw new GranaryError('account.unknown', `${payer} has deposited into no such account of this escrow.`, { payer })
  const ids = [...accounts.keys()]
  throw new GranaryError('request.malformed', `${payer} has ${ids.length} accounts: name one of ${ids.join(', ')}.`, {
    accounts: ids,
  })
}

function configOf({ payer, collector, thawSeconds, salt }: Record<string, unknown>): AccountConfig {
  return {
    payer: String(payer).toLowerCase(),
    collector: String(collector).toLowerCase(),
    thawSeconds: Number(thawSeconds),
    salt: String(salt),
  }
}
