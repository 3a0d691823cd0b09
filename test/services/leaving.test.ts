import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Wallet } from 'ethers'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { Funds, Granary, openOwnWay } from '../../services/sdk/index.ts'
import { devChainMissing } from '../adapters/support/dev-chain.ts'
import { run } from '../edges/support/run.ts'
import { randomId } from './support/marketplace.ts'
import { type GatewayProcess, type Operator, openOperator } from './support/operator.ts'

const missing = devChainMissing()
const THAW_SECONDS = 7200
const DEPOSIT = 5_000_000n

/** Payers get their money back: through a gateway's relay without gas, by their own transactions, and without any gateway. */
describe.skipIf(missing !== null)(`leaving${missing ? ` (skipped: ${missing})` : ''}`, () => {
  const stack = new AsyncDisposableStack()
  const dir = mkdtempSync(join(tmpdir(), 'granary-leaving-'))
  let operator: Operator
  let gateway: GatewayProcess
  let wallet: Wallet
  let granary: Granary

  beforeAll(async () => {
    stack.defer(() => rmSync(dir, { recursive: true, force: true }))
    operator = stack.use(await openOperator())
    gateway = await operator.gateway()
  }, 120_000)
  afterAll(() => stack.disposeAsync(), 60_000)

  beforeEach(async () => {
    wallet = new Wallet(randomId())
    writeFileSync(join(dir, 'key'), wallet.privateKey)
    const rpcUrl = operator.market.node.rpcUrl
    granary = await Granary.open({ gatewayUrl: gateway.url, rpcUrl, wallet })
    await mint(wallet.address, DEPOSIT)
    await granary.account.deposit(DEPOSIT)
  })

  const escrow = () => operator.market.payer.addresses.InferenceEscrow ?? ''
  const mint = (to: string, amount: bigint) =>
    operator.market.payer.submit({ contract: 'Token', method: 'mint', args: [to, amount] })
  const dollars = async (address: string) =>
    operator.market.payer.read({ contract: 'Token', method: 'balanceOf', args: [address] })
  const giveGas = (address: string) => operator.market.node.rpc('anvil_setBalance', address, '0xde0b6b3a7640000')
  const withoutNode = () => Granary.open({ gatewayUrl: gateway.url, wallet })
  const own = async () => new Funds(await openOwnWay({ rpcUrl: operator.market.node.rpcUrl, escrow: escrow(), wallet }))
  const cli = (...args: string[]) =>
    run(['services/cli/main.ts', ...args], { GRANARY_DIR: dir, LC_ALL: 'en_US.UTF-8', TZ: 'UTC' })
  const ways = () => ['--gateway', gateway.url, '--rpc', operator.market.node.rpcUrl, '--key-file', join(dir, 'key')]

  it('pays out by signature, after the thaw, to an address of the payer’s choice, without a coin for gas', async () => {
    const funds = granary.account.funds()
    const { endsAt, accountId } = await funds.startThaw(3_000_000n)
    const standing = await funds.standing()
    expect(standing).toMatchObject({ accountId, deposit: DEPOSIT, thawing: 3_000_000n, thawEndsAt: endsAt, withdrawable: 0n })
    expect(Number(endsAt) - standing.now).toBeGreaterThan(THAW_SECONDS - 60)

    await expect(funds.withdraw()).rejects.toMatchObject({ code: 'thaw.running', evidence: { endsAt } })
    await operator.passTime(THAW_SECONDS)
    const to = Wallet.createRandom().address.toLowerCase()
    expect(await funds.withdraw({ to })).toMatchObject({ amount: 3_000_000n, to })
    expect(await dollars(to)).toBe(3_000_000n)
    expect(await operator.market.node.rpc('eth_getBalance', wallet.address, 'latest')).toBe('0x0')
    expect(await funds.standing()).toMatchObject({ deposit: 2_000_000n, thawing: 0n, thawEndsAt: 0 })
  })

  it('pays out by the payer’s own transactions, with a node and the escrow’s address and no gateway at all', async () => {
    await giveGas(wallet.address)
    const funds = await own()
    const { accountId } = await funds.startThaw(DEPOSIT)
    expect(accountId).toBe(granary.account.idOf(await granary.account.config()))
    await funds.cancelThaw()
    expect(await funds.standing()).toMatchObject({ thawing: 0n, thawEndsAt: 0 })
    await funds.startThaw(1_000_000n)
    await operator.passTime(THAW_SECONDS)
    expect(await funds.withdraw()).toMatchObject({ amount: 1_000_000n })
    expect(await dollars(wallet.address)).toBe(1_000_000n)
  })

  it('asks who has several accounts which one, and finds each by its id', async () => {
    const second = await granary.account.config({ salt: randomId() })
    await mint(wallet.address, 7n)
    await granary.account.deposit(7n, second)
    const ids = [granary.account.idOf(await granary.account.config()), granary.account.idOf(second)]
    const refused = (await own()).standing()
    await expect(refused).rejects.toMatchObject({ code: 'request.malformed', evidence: { accounts: ids } })
    const accountId = ids[1] ?? ''
    expect(await granary.account.funds({ accountId }).startThaw(7n)).toMatchObject({ accountId, amount: 7n })
    const way = await openOwnWay({ rpcUrl: operator.market.node.rpcUrl, escrow: escrow(), wallet, accountId })
    expect(await new Funds(way).standing()).toMatchObject({ accountId, thawing: 7n })
  })

  it('tells newcomers what is wrong before it costs anything: too much, nothing thawing, a thaw that would begin anew', async () => {
    for (const funds of [granary.account.funds(), granary.account.funds({ direct: true })]) {
      const tooMuch = funds.startThaw(DEPOSIT + 1n)
      await expect(tooMuch).rejects.toMatchObject({ code: 'thaw.too-much', evidence: { available: DEPOSIT.toString() } })
      await expect(funds.startThaw(0n)).rejects.toMatchObject({ code: 'thaw.too-much' })
      await expect(funds.withdraw()).rejects.toMatchObject({ code: 'thaw.none' })
      await expect(funds.cancelThaw()).rejects.toMatchObject({ code: 'thaw.none' })
    }
    const funds = granary.account.funds()
    const first = await funds.startThaw(1n)
    await operator.passTime(10)
    await expect(funds.startThaw(2n)).rejects.toMatchObject({ code: 'thaw.running', evidence: { endsAt: first.endsAt } })
    const again = await funds.startThaw(2n, { restart: true })
    expect(Number(again.endsAt)).toBeGreaterThanOrEqual(Number(first.endsAt) + 10)
    const nobody = await Granary.open({
      gatewayUrl: gateway.url,
      rpcUrl: operator.market.node.rpcUrl,
      wallet: new Wallet(randomId()),
    })
    await expect(nobody.account.funds().startThaw(1n)).rejects.toMatchObject({ code: 'account.unknown' })
  })

  it('tells the same in the same words where only a gateway is asked: what the contract refuses comes back named', async () => {
    const funds = (await withoutNode()).account.funds()
    await expect(funds.startThaw(DEPOSIT + 1n)).rejects.toMatchObject({ code: 'thaw.too-much' })
    await expect(funds.withdraw()).rejects.toMatchObject({ code: 'thaw.none' })
    const { endsAt } = await funds.startThaw(DEPOSIT)
    await expect(funds.withdraw()).rejects.toMatchObject({ code: 'thaw.running', evidence: { endsAt } })
    await expect(funds.claimCredit()).rejects.toMatchObject({ code: 'credit.none' })
    await expect(funds.standing()).rejects.toMatchObject({ code: 'config.invalid' })
  })

  it('says in the command line how much in dollars and base units, and when the thaw ends in the words of the place', async () => {
    const thawed = await cli('account', 'thaw', '1.5', ...ways())
    expect(thawed).toMatchObject({ code: 0, errors: '' })
    expect(thawed.output).toContain('thawing 1.500000 dollars (1500000 base units)')
    expect(thawed.output).toMatch(/it ends on [A-Z][a-z]+day, [A-Z][a-z]+ \d+, 20\d\d at \d+:\d\d:\d\d [AP]M UTC \(20\d\d-/)
    const early = await cli('account', 'withdraw', ...ways())
    expect({ code: early.code, output: early.output }).toEqual({ code: 1, output: '' })
    expect(early.errors).toMatch(
      /^thaw\.running: The 1\.500000 dollars thaw until .*day, .*\(in (2 hours|1\d\d minutes), 20.*Z\)/,
    )
    expect(early.errors.split('\n')).toHaveLength(2)
    const balance = await cli('account', 'balance', ...ways())
    expect(balance.output).toMatch(/deposited +5\.000000 dollars \(5000000 base units\)/)
    expect(balance.output).toMatch(/thawing +1\.500000 dollars \(1500000 base units\), until .*day/)
    const cancelled = await cli('account', 'cancel-thaw', ...ways())
    expect(cancelled.output).toMatch(/^cancelled the thaw of 1\.500000 dollars \(1500000 base units\), in transaction 0x/)

    await giveGas(wallet.address)
    const direct = ['--direct', '--escrow', escrow(), '--rpc', operator.market.node.rpcUrl, '--key-file', join(dir, 'key')]
    const all = await cli('account', 'thaw', 'all', ...direct)
    expect(all.output).toContain('thawing 5.000000 dollars (5000000 base units)')
    await operator.passTime(THAW_SECONDS)
    const out = await cli('account', 'withdraw', '--to', `0x${'ab'.repeat(20)}`, ...direct, '--json')
    expect(JSON.parse(out.output)).toMatchObject({ amount: '5000000', to: `0x${'ab'.repeat(20)}` })
  }, 120_000)

  it('keeps a thaw and a withdrawal in files that anybody sends, and that say only what the payer signed', async () => {
    const path = join(dir, 'thaw.json')
    const signed = await cli('account', 'thaw', '2', '--export', path, ...ways())
    expect(signed).toMatchObject({ code: 0, errors: '' })
    expect(await granary.account.funds().standing()).toMatchObject({ thawing: 0n })
    expect(await cli('relay', path, '--gateway', gateway.url)).toMatchObject({ code: 0, errors: '' })
    expect(await granary.account.funds().standing()).toMatchObject({ thawing: 2_000_000n })
    await operator.passTime(THAW_SECONDS)
    const file = await granary.sign((one) => one.account.funds().withdraw({ to: wallet.address }))
    expect(file.acts.map(({ method }) => method)).toEqual(['withdrawBySig'])
    writeFileSync(path, JSON.stringify({ ...file, acts: file.acts.map((act) => ({ ...act, args: redirected(act.args) })) }))
    const theft = await cli('relay', path, '--gateway', gateway.url)
    expect(theft.errors).toMatch(/^relay\.refused: .*EscrowSignatureInvalid/)
    writeFileSync(path, JSON.stringify(file))
    expect(await cli('relay', path, '--gateway', gateway.url)).toMatchObject({ code: 0, errors: '' })
    expect(await dollars(wallet.address)).toBe(2_000_000n)
    const again = await cli('relay', path, '--gateway', gateway.url)
    expect(again.errors).toMatch(/^relay\.refused: .*EscrowNonceUsed/)
    const both = await cli('account', 'thaw', '2', '--direct', '--export', path, ...ways())
    expect(both.errors).toMatch(/^request\.malformed: --direct sends at once and --export never does/)
  }, 120_000)
})

/** To somebody else than the payer signed for. */
function redirected([account, , ...rest]: readonly unknown[]): unknown[] {
  return [account, `0x${'ee'.repeat(20)}`, ...rest]
}
