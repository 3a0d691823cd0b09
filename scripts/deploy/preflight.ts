import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { getAddress, Interface, isAddress, ZeroAddress, ZeroHash } from 'ethers'
import { GranaryError } from '../../services/core/errors.ts'
import type { Request } from './json-rpc.ts'

const DAY = 86_400
const DEVELOPMENT_CHAINS = [31_337, 1_337]
const MAX_GENESIS = 256
const VOUCHES = 3
const MAX_PURPOSES = 32

/** Least and most of every number; what only development chains may go below is in `patience`. */
const bounds: Record<string, readonly [number, number]> = {
  chainId: [1, Number.MAX_SAFE_INTEGER],
  protocolFeePpm: [0, 50_000],
  votingDelaySeconds: [1, 30 * DAY],
  votingPeriodSeconds: [1, 60 * DAY],
  lateQuorumSeconds: [0, 60 * DAY],
  timelockSeconds: [1, 60 * DAY],
  probationSeconds: [0, 366 * DAY],
  growthWindowSeconds: [1, 366 * DAY],
  growthFloor: [1, 1_000_000],
  growthPpm: [0, 1_000_000],
  rotationSeconds: [1, 366 * DAY],
  mandateSeconds: [0, 366 * DAY],
  ordinaryQuorumPpm: [10_000, 600_000],
  ordinaryThresholdPpm: [500_000, 900_000],
  treasuryQuorumPpm: [10_000, 600_000],
  treasuryThresholdPpm: [500_000, 900_000],
  constitutionalQuorumPpm: [10_000, 600_000],
  constitutionalThresholdPpm: [500_000, 900_000],
  epochSeconds: [1, 366 * DAY],
  maxSettlementSeconds: [1, 15 * DAY],
  minStake: [0, Number.MAX_SAFE_INTEGER],
  unstakeSeconds: [1, 366 * DAY],
}
const patience = [
  'votingDelaySeconds',
  'votingPeriodSeconds',
  'timelockSeconds',
  'probationSeconds',
  'rotationSeconds',
  'unstakeSeconds',
  'growthWindowSeconds',
  'epochSeconds',
  'maxSettlementSeconds',
]

export type ModuleParameters = Record<string, number | string | string[]>

export interface People {
  genesis: readonly string[]
  registrar: string
  guardian?: string | undefined
}

/** Development chains get a test dollar of their own, unless the parameters name a token. */
export function isDevelopmentChain(chainId: number): boolean {
  return DEVELOPMENT_CHAINS.includes(chainId)
}

/** Reads an Ignition parameter file and refuses what the contracts would refuse, or what nobody should deploy. */
export function readParameters({ file, chainId }: { file: string; chainId: number }): ModuleParameters {
  const parameters = parseParameters(file, chainId)
  if (parameters.chainId !== chainId) {
    throw invalid(`${file} is for chain ${parameters.chainId}, but the RPC URL answers as chain ${chainId}.`)
  }
  for (const [name, [least, most]] of Object.entries(bounds)) {
    const floor = !isDevelopmentChain(chainId) && patience.includes(name) ? Math.max(least, DAY) : least
    requireWithin({ name, value: parameters[name], least: floor, most })
  }
  if (Number(parameters.lateQuorumSeconds) > Number(parameters.votingPeriodSeconds)) {
    throw invalid('lateQuorumSeconds must not exceed votingPeriodSeconds.')
  }
  // What was served before a raise of the protocol fee was announced can then still settle under the old one.
  if (!isDevelopmentChain(chainId) && Number(parameters.timelockSeconds) < Number(parameters.maxSettlementSeconds)) {
    throw invalid('timelockSeconds must be at least maxSettlementSeconds: a raised fee would reach back before its announcement.')
  }
  requirePurposes(parameters.purposes)
  return parameters
}

/** Checks and normalises who founds the cooperative. The deployer is none of them: its key must have no power afterwards. */
export function requirePeople({ genesis, registrar, guardian = ZeroAddress, deployer }: People & { deployer: string }) {
  const members = genesis.map((account) => requireAccount('genesis', account))
  if (members.length < VOUCHES || members.length > MAX_GENESIS) {
    throw invalid(
      `${members.length} genesis members: a newcomer needs ${VOUCHES} vouches, so at least ${VOUCHES}; at most ${MAX_GENESIS}.`,
    )
  }
  if (new Set(members).size !== members.length) throw invalid('A genesis member is listed twice: one member, one vote.')
  const guard = guardian === ZeroAddress ? ZeroAddress : requireAccount('guardian', guardian)
  const people = { genesis: members, registrar: requireAccount('registrar', registrar), guardian: guard }
  if ([...members, people.registrar, guard].includes(getAddress(deployer))) {
    throw invalid(
      'The deployer is listed as a genesis member, registrar or guardian; deploy with a key that is nobody afterwards.',
      {
        deployer,
      },
    )
  }
  return people
}

const tokenInterface = new Interface([
  'function decimals() view returns (uint8)',
  'function authorizationState(address authorizer, bytes32 nonce) view returns (bool)',
  'function nonces(address owner) view returns (uint256)',
])

/** A settlement token must be there, count in millionths, and take EIP-3009 and EIP-2612 signatures. */
export async function requireToken({ request, token }: { request: Request; token: string | undefined }): Promise<string> {
  if (token === undefined || !isAddress(token)) throw invalid('This chain needs the address of its settlement token.', { token })
  const code = await request({ method: 'eth_getCode', params: [token, 'latest'] })
  if (code === '0x') throw invalid(`The settlement token ${token} has no code on this chain.`, { token })

  const decimals = await ask({ request, token, name: 'decimals', args: [] })
  if (decimals !== 6n) throw invalid(`The settlement token ${token} must have 6 decimals.`, { token, decimals: String(decimals) })
  await ask({ request, token, name: 'authorizationState', args: [ZeroAddress, ZeroHash] })
  await ask({ request, token, name: 'nonces', args: [ZeroAddress] })
  return getAddress(token)
}

async function ask({
  request,
  token,
  name,
  args,
}: {
  request: Request
  token: string
  name: string
  args: unknown[]
}): Promise<unknown> {
  const data = tokenInterface.encodeFunctionData(name, args)
  try {
    const answer = await request({ method: 'eth_call', params: [{ to: token, data }, 'latest'] })
    return tokenInterface.decodeFunctionResult(name, String(answer))[0]
  } catch (cause) {
    if (cause instanceof GranaryError) throw cause
    throw invalid(`The settlement token ${token} does not answer ${name}(): it must support EIP-3009 and EIP-2612.`, {
      token,
      cause,
    })
  }
}

function parseParameters(file: string, chainId: number): ModuleParameters {
  if (!existsSync(file)) throw invalid(`No parameters for chain ${chainId}: ${path.resolve(file)} does not exist.`)
  try {
    const parsed = JSON.parse(readFileSync(file, 'utf8')) as { Cooperative?: ModuleParameters }
    if (parsed.Cooperative) return parsed.Cooperative
  } catch (cause) {
    throw invalid(`${file} is not JSON.`, { cause })
  }
  throw invalid(`${file} has no "Cooperative" section.`)
}

function requireWithin({ name, value, least, most }: { name: string; value: unknown; least: number; most: number }) {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= least && value <= most) return
  throw invalid(`${name} is ${String(value)}; it must be a whole number from ${least} to ${most}.`, { name, least, most })
}

function requirePurposes(purposes: unknown) {
  const fits = Array.isArray(purposes) && purposes.length > 0 && purposes.length <= MAX_PURPOSES
  if (
    !fits ||
    new Set(purposes).size !== purposes.length ||
    !purposes.every((name) => typeof name === 'string' && /^[a-z-]{1,64}$/.test(name))
  ) {
    throw invalid(`purposes must be 1 to ${MAX_PURPOSES} different names in lower case.`)
  }
}

export function requireAccount(name: string, account: string): string {
  if (isAddress(account) && getAddress(account) !== ZeroAddress) return getAddress(account)
  throw invalid(`${name}: ${account} is not an account's address.`)
}

export function invalid(message: string, evidence: { cause?: unknown; [fact: string]: unknown } = {}): GranaryError {
  return new GranaryError('config.invalid', message, evidence)
}
