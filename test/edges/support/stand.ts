import { Wallet } from 'ethers'
import type { AccountConfig, KeyStanding } from '../../../services/core/selling-ledger.ts'
import type { GatewayFacts } from '../../../services/sdk/context.ts'
import { Granary } from '../../../services/sdk/index.ts'
import { randomId } from '../../services/support/marketplace.ts'
import type { GatewayProcess, Operator } from '../../services/support/operator.ts'
import { draftSession, escrowOf, type OpenSession, openedSession, sessionRequest, signVoucher, voucherHeader } from './session.ts'
import { openWire, type Reply, type Sent } from './wire.ts'

/** Two gateway processes of one operator, and whoever comes to cheat them. */
export interface Stand {
  operator: Operator
  gateways: readonly [GatewayProcess, GatewayProcess]
}

export interface Visitor {
  wallet: Wallet
  granary: Granary
  config: AccountConfig
  accountId: string
  facts: GatewayFacts
  standing(): Promise<KeyStanding | null>
  /** Of all lines of the account's statement. */
  charged(): Promise<{ lines: number; sum: bigint }>
  session(): Promise<OpenSession>
  /** The header of a voucher over this ceiling. */
  voucher(ceiling: bigint): Promise<string>
}

export async function visit({ operator, gateways }: Stand, deposit: bigint): Promise<Visitor> {
  const wallet = new Wallet(randomId())
  const { rpcUrl } = operator.market.node
  const granary = await Granary.open({ gatewayUrl: gateways[0].url, rpcUrl, wallet })
  const config = await granary.account.config()
  const accountId = granary.account.idOf(config)
  if (deposit > 0n) {
    await mint(operator, wallet.address, deposit)
    await granary.account.deposit(deposit)
    await operator.indexed()
  }
  const { facts, now } = granary.context
  return {
    wallet,
    granary,
    config,
    accountId,
    facts,
    standing: () => operator.ledger.standing(accountId, config.payer),
    async charged() {
      const lines = await operator.ledger.statement(accountId, { limit: 500 })
      return { lines: lines.length, sum: lines.reduce((sum, { charged }) => sum + charged, 0n) }
    },
    async session() {
      const drafted = await draftSession(facts, { account: config, signer: wallet, expiresAt: (await now()) + 3600 })
      const opened = await openWire(gateways[0].url)({ path: '/v1/sessions', body: drafted.body })
      return openedSession(facts, drafted, String(opened.json.sessionId))
    },
    voucher: async (ceiling) => voucherHeader(await signVoucher({ signer: wallet, escrow: escrowOf(facts), accountId, ceiling })),
  }
}

export async function mint(operator: Operator, to: string, amount: bigint): Promise<void> {
  await operator.market.payer.submit({ contract: 'Token', method: 'mint', args: [to, amount] })
}

/** By turns to the one and the other gateway. */
export function sendEverywhere({ gateways }: Stand, count: number, sent: (index: number) => Sent): Promise<Reply[]> {
  const wires = gateways.map(({ url }) => openWire(url))
  return Promise.all(
    Array.from({ length: count }, async (_, index) => {
      const wire = wires[index % 2]
      if (!wire) throw new Error('unreachable')
      return wire(sent(index))
    }),
  )
}

export function statusesOf(replies: readonly Reply[]): Record<number, number> {
  const counts: Record<number, number> = {}
  for (const { status } of replies) counts[status] = (counts[status] ?? 0) + 1
  return counts
}

/** One paid request of a session, with a voucher over `ceiling`. */
export async function paid(
  visitor: Visitor,
  session: OpenSession,
  { body, ceiling, idempotencyKey }: PaidRequest,
): Promise<Sent> {
  const named = idempotencyKey === undefined ? {} : { idempotencyKey }
  return { body, headers: sessionRequest(session, { body, voucher: await visitor.voucher(ceiling), ...named }) }
}

export interface PaidRequest {
  body: unknown
  ceiling: bigint
  idempotencyKey?: string
}
