import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type hre from 'hardhat'
import { cooperativeModule } from '../../../ignition/modules/Cooperative.ts'
import { personOf } from './people.ts'

export type Contract =
  | 'DatasetRegistry'
  | 'ModelRegistry'
  | 'InferenceEscrow'
  | 'RoyaltyLedger'
  | 'CooperativeParameters'
  | 'Token'
  | 'Probe'

export type Addresses = Record<Contract | 'timelock' | 'governor', string>
export type Connection = Awaited<ReturnType<typeof hre.network.create>>

/** Short, so that a history sees many epochs and ends. */
export const EPOCH_SECONDS = 1000
export const MAX_SETTLEMENT_SECONDS = 300
/** Odd, so that fees leave dust. */
export const PROTOCOL_FEE_PPM = 12_345
const ROOT = resolve(import.meta.dirname, '../../..')

interface Deployed {
  target: unknown
  getFunction(name: string): () => Promise<unknown>
}

/** As deployment does it. */
export async function deploy(connection: Connection): Promise<Addresses> {
  const { ignition } = connection as unknown as {
    ignition: { deploy(module: unknown, options: unknown): Promise<Record<string, Deployed>> }
  }
  const founder = personOf('founder').address
  const Cooperative = {
    ...{ protocolFeePpm: PROTOCOL_FEE_PPM, registrar: founder, genesis: [founder], purposes: ['research', 'commercial-service'] },
    ...{ probationSeconds: 60, growthWindowSeconds: 600, growthFloor: 25, growthPpm: 50_000, rotationSeconds: 60 },
    ...{ ordinaryQuorumPpm: 200_000, ordinaryThresholdPpm: 500_000, treasuryQuorumPpm: 250_000, treasuryThresholdPpm: 600_000 },
    ...{ constitutionalQuorumPpm: 333_333, constitutionalThresholdPpm: 666_666, mandateSeconds: 6000 },
    ...{ votingDelaySeconds: 10, votingPeriodSeconds: 60, lateQuorumSeconds: 20, timelockSeconds: 20 },
    ...{ epochSeconds: EPOCH_SECONDS, maxSettlementSeconds: MAX_SETTLEMENT_SECONDS, minStake: 1_000_000, unstakeSeconds: 60 },
  }
  const module = cooperativeModule({ withTestDollar: true })
  const deployed = await ignition.deploy(module, { parameters: { Cooperative }, displayUi: false })
  const at = (name: string) => String(deployed[name]?.target).toLowerCase()
  const token = String(await deployed.escrow?.getFunction('TOKEN')()).toLowerCase()
  return {
    ...{ DatasetRegistry: at('datasets'), ModelRegistry: at('models'), InferenceEscrow: at('escrow') },
    ...{ RoyaltyLedger: at('royalties'), CooperativeParameters: at('parameters'), Token: token },
    ...{ timelock: at('timelock'), governor: at('governor'), Probe: await deployProbe(connection) },
  }
}

/** Built beforehand: see campaign.ts. */
async function deployProbe({ provider }: Connection): Promise<string> {
  const artifact = join(ROOT, 'artifacts/test/contracts/support/Probe.sol/Probe.json')
  const { deployedBytecode } = JSON.parse(readFileSync(artifact, 'utf8')) as { deployedBytecode: string }
  const address = personOf('probe').address
  await provider.request({ method: 'hardhat_setCode', params: [address, deployedBytecode] })
  return address
}
