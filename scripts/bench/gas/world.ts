import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { Interface, id, keccak256, toBeHex, Wallet } from 'ethers'
import hre from 'hardhat'
import { cooperativeModule } from '../../../ignition/modules/Cooperative.ts'
import { GranaryError } from '../../../services/core/errors.ts'
import { abi } from '../../../services/core/generated/abi.ts'
import { type ContractName, type MessageName, type MessageValue, typedData } from '../../../services/core/messages.ts'

/** Every duration is fixed, so that a run repeats another to the unit of gas. */
export const EPOCH_SECONDS = 7 * 86_400
export const CHAIN_ID = 31_337n
export const FOUNDERS = 20
const START = Math.ceil(1_800_000_000 / EPOCH_SECONDS) * EPOCH_SECONDS
const ROOT = resolve(import.meta.dirname, '../../..')
const EAGER_SPLIT = 'test/contracts/support/EagerSplit.sol'
const splitAbi = ['function split(address token, uint256 each, address[] recipients)']

export type Named = keyof typeof abi | 'EagerSplit'

export interface Act {
  from: Wallet
  contract: Named
  method: string
  args: readonly unknown[]
}

/** The whole cooperative on Hardhat's in-process chain, with a clock that only this moves. */
export interface GasWorld {
  addresses: Record<string, string>
  now(): number
  epoch(): number
  warp(timestamp: number): void
  /** The same name is the same person in every run. */
  person(name: string): Promise<Wallet>
  /** Sends one transaction and tells the gas that it used in all. */
  gasOf(act: Act): Promise<number>
  read(contract: Named, method: string, args: unknown[]): Promise<unknown>
  sign<C extends ContractName>(who: Wallet, contract: C, message: MessageName<C>, value: MessageValue): Promise<string>
  close(): Promise<void>
}

type Rpc = (method: string, ...params: unknown[]) => Promise<unknown>

interface Receipt {
  status: string
  gasUsed: string
  contractAddress: string | null
}

export async function openGasWorld(): Promise<GasWorld> {
  const override = { initialDate: new Date((START - 600) * 1000).toISOString() }
  const connection = await hre.network.create({ network: 'dev', override })
  const rpc: Rpc = (method, ...params) => connection.provider.request({ method, params })
  const people = openPeople(rpc)
  const addresses = await deploy(connection, await foundersOf(people))
  let clock = START
  const interfaces = new Map<Named, Interface>([['EagerSplit', new Interface(splitAbi)]])
  for (const [name, entries] of Object.entries(abi)) interfaces.set(name as Named, new Interface(entries))

  const encode = (contract: Named, method: string, args: readonly unknown[]) =>
    (interfaces.get(contract) ?? new Interface([])).encodeFunctionData(method, args)
  const transact = async (from: string, to: string | undefined, data: string): Promise<Receipt> => {
    clock += 1
    await rpc('evm_setNextBlockTimestamp', toBeHex(clock))
    const hash = await rpc('eth_sendTransaction', { from, ...(to === undefined ? {} : { to }), data, gas: toBeHex(16_000_000) })
    const receipt = (await rpc('eth_getTransactionReceipt', hash)) as Receipt
    if (receipt.status !== '0x1') throw new GranaryError('chain.reverted', `Transaction ${hash} was reverted.`)
    return receipt
  }
  const splitter = await transact((await people('deployer')).address, undefined, await eagerSplitCode())
  addresses.EagerSplit = String(splitter.contractAddress)

  return {
    addresses,
    now: () => clock,
    epoch: () => Math.floor(clock / EPOCH_SECONDS),
    warp: (timestamp) => {
      clock = Math.max(clock, timestamp)
    },
    person: people,
    async gasOf({ from, contract, method, args }) {
      const receipt = await transact(from.address, addresses[contract], encode(contract, method, args))
      return Number(receipt.gasUsed)
    },
    async read(contract, method, args) {
      const data = await rpc('eth_call', { to: addresses[contract], data: encode(contract, method, args) }, 'latest')
      return interfaces.get(contract)?.decodeFunctionResult(method, String(data))[0]
    },
    async sign(who, contract, message, value) {
      const named = contract === 'Token' ? { name: 'Granary Test Dollar', version: '1' } : {}
      const verifier = { chainId: CHAIN_ID, address: addresses[contract] ?? '', ...named }
      const { domain, types, value: signed } = typedData(contract, message, verifier, value)
      return who.signTypedData(domain, types, signed)
    },
    close: () => connection.close(),
  }
}

/** Senders need coins, and a chain that takes their transactions unsigned: signing a transaction changes nothing of its gas. */
function openPeople(rpc: Rpc): (name: string) => Promise<Wallet> {
  const known = new Map<string, Wallet>()
  return async (name) => {
    const found = known.get(name)
    if (found) return found
    const wallet = new Wallet(keccak256(id(`gas bench: ${name}`)))
    known.set(name, wallet)
    await rpc('hardhat_setBalance', wallet.address, toBeHex(10n ** 20n))
    await rpc('hardhat_impersonateAccount', wallet.address)
    return wallet
  }
}

async function foundersOf(people: (name: string) => Promise<Wallet>): Promise<string[]> {
  const founders: string[] = []
  for (let i = 0; i < FOUNDERS; i++) founders.push((await people(`founder ${i}`)).address)
  return founders
}

/** As deployment does it; with periods of days, as on a public chain. */
async function deploy(connection: Awaited<ReturnType<typeof hre.network.create>>, genesis: string[]) {
  const { ignition } = connection as typeof connection & { ignition: IgnitionOf }
  const DAY = 86_400
  const Cooperative = {
    ...{ protocolFeePpm: 10_000, registrar: genesis[0], genesis, purposes: ['research', 'commercial-service'] },
    ...{ probationSeconds: 5 * DAY, growthWindowSeconds: 30 * DAY, growthFloor: 25, growthPpm: 50_000, rotationSeconds: DAY },
    ...{ ordinaryQuorumPpm: 200_000, ordinaryThresholdPpm: 500_000, treasuryQuorumPpm: 250_000, treasuryThresholdPpm: 600_000 },
    ...{ constitutionalQuorumPpm: 333_333, constitutionalThresholdPpm: 666_666, mandateSeconds: 180 * DAY },
    ...{ votingDelaySeconds: DAY, votingPeriodSeconds: 5 * DAY, lateQuorumSeconds: 2 * DAY, timelockSeconds: 2 * DAY },
    ...{ epochSeconds: EPOCH_SECONDS, maxSettlementSeconds: DAY, minStake: 1_000_000, unstakeSeconds: DAY },
  }
  const deployed = await ignition.deploy(cooperativeModule({ withTestDollar: true }), {
    parameters: { Cooperative },
    displayUi: false,
  })
  const at = (key: string) => String(deployed[key]?.target)
  const escrowToken = await deployed.escrow?.getFunction('TOKEN')()
  return {
    ...{ DatasetRegistry: at('datasets'), ModelRegistry: at('models'), InferenceEscrow: at('escrow') },
    ...{ RoyaltyLedger: at('royalties'), Membership: at('membership'), CooperativeParameters: at('parameters') },
    ...{ CooperativeGovernor: at('governor'), Token: String(escrowToken) },
  } as Record<string, string>
}

interface IgnitionOf {
  deploy(
    module: unknown,
    options: unknown,
  ): Promise<Record<string, { target: unknown; getFunction(name: string): () => Promise<unknown> }>>
}

/** The one contract that is not the project's own: compiled here, because a build leaves tests' contracts out. */
async function eagerSplitCode(): Promise<string> {
  const built = await hre.solidity.build([join(ROOT, EAGER_SPLIT)], { quiet: true })
  if (!hre.solidity.isSuccessfulBuildResult(built)) throw new GranaryError('internal', 'The reference contract does not compile.')
  const artifact = join(ROOT, 'artifacts', EAGER_SPLIT, 'EagerSplit.json')
  return (JSON.parse(readFileSync(artifact, 'utf8')) as { bytecode: string }).bytecode
}
