import { Contract, type InterfaceAbi, MaxUint256, Wallet } from 'ethers'
import { abi } from '../../../services/core/generated/abi.ts'
import { DEV_ACCOUNT_KEY } from '../../local/keys.ts'
import { until } from '../../story/world.ts'
import type { Stage } from './stage.ts'
import { type Payer, payerOf } from './wallets.ts'

/** Lasts for a hundred thousand requests. */
const DEPOSIT = 100_000_000n
const DEPOSIT_GAS = 200_000n
const SENT_AT_ONCE = 32
const KEY_CAP = 50_000_000n
const GRANTED_AT_ONCE = 16

/** Deposits for payers `first` to `first + count − 1`, on the chain, and waits until the ledger has them all. */
export async function fundPayers(stage: Stage, { first, count }: { first: number; count: number }): Promise<Payer[]> {
  const { world, facts } = stage
  const payers = Array.from({ length: count }, (_, index) => payerOf(first + index, facts))
  const funder = new Wallet(DEV_ACCOUNT_KEY, world.provider)
  const contract = (name: string, address: string) =>
    new Contract(address, (abi as unknown as Record<string, InterfaceAbi>)[name] ?? [], funder)
  const [token, escrow] = [contract('Token', facts.token), contract('InferenceEscrow', facts.escrow)]
  await (await token.getFunction('mint').send(funder.address, DEPOSIT * BigInt(count))).wait(1, 30_000)
  await (await token.getFunction('approve').send(facts.escrow, MaxUint256)).wait(1, 30_000)
  let nonce = await world.provider.getTransactionCount(funder.address, 'pending')
  for (let sent = 0; sent < count; sent += SENT_AT_ONCE) {
    const group = payers.slice(sent, sent + SENT_AT_ONCE).map(({ config }) => {
      return escrow.getFunction('deposit').send(config, DEPOSIT, { nonce: nonce++, gasLimit: DEPOSIT_GAS })
    })
    await Promise.all(group)
  }
  const ids = payers.map(({ accountId }) => accountId)
  const known = async () => {
    const rows = await stage.select<{ count: string }>(
      'SELECT count(*) FROM accounts WHERE account_id = ANY($1) AND chain_deposit > 0',
      [ids],
    )
    return Number(rows[0]?.count) === count
  }
  await until(`${count} deposits to be indexed`, known, 60_000 + 50 * count)
  return payers
}

/** An API key for each of the payers, made over HTTP as a developer does. */
export async function makeApiKeys(stage: Stage, payers: readonly Payer[]): Promise<string[]> {
  const tokens: string[] = []
  for (let made = 0; made < payers.length; made += GRANTED_AT_ONCE) {
    tokens.push(...(await Promise.all(payers.slice(made, made + GRANTED_AT_ONCE).map((payer) => makeApiKey(stage, payer)))))
  }
  const ids = payers.map(({ accountId }) => accountId)
  const known = async () => {
    const rows = await stage.select<{ count: string }>('SELECT count(*) FROM keys WHERE account_id = ANY($1) AND chain_cap > 0', [
      ids,
    ])
    return Number(rows[0]?.count) === payers.length
  }
  await until('the keys to be indexed', known, 60_000)
  return tokens
}

async function makeApiKey({ world }: Stage, { wallet }: Payer): Promise<string> {
  const { granary } = await world.person('payer', wallet.privateKey)
  const { apiKey } = await granary.account.createApiKey({ cap: KEY_CAP, lifeSeconds: 30 * 24 * 3600, label: 'bench' })
  return apiKey
}
