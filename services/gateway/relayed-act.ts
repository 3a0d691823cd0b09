import { Interface, type InterfaceAbi, keccak256, type Result } from 'ethers'
import { type ActKind, acts, kindOfAct } from '../core/acts.ts'
import type { Call } from '../core/chain-records.ts'
import { GranaryError } from '../core/errors.ts'
import { abi } from '../core/generated/abi.ts'
import type { Chain } from '../core/ports.ts'

/** An act as the chain will read it, whatever way its arguments were written. */
export interface RelayedAct {
  kind: ActKind
  call: Call
  name: string
  args: Result
  /** The same for the same act, also under another signature. */
  key: string
}

const interfaces = new Map(
  Object.entries(abi as Record<string, InterfaceAbi>).map(([name, known]) => [name, new Interface(known)]),
)
const NO_SIGNATURE = '0x'
const listed = Object.fromEntries(Object.entries(acts).map(([contract, methods]) => [contract, Object.keys(methods)]))

/** Callers write the arguments themselves: what does not encode is their mistake, not the chain's. */
export function readAct(call: Call): RelayedAct {
  const { contract, method } = call
  const name = `${contract}.${method}`
  const kind = kindOfAct(call)
  if (kind === null) throw new GranaryError('relay.refused', `${name} is not relayed here.`, { relayable: listed })
  try {
    const known = interfaces.get(contract)
    const called = known?.getFunction(method, [...call.args])
    if (!known || !called) throw new TypeError('no such arguments')
    const data = known.encodeFunctionData(called, [...call.args])
    const args = known.decodeFunctionData(called, data)
    const isSigned = called.inputs.at(-1)?.type === 'bytes'
    const unsigned = isSigned ? known.encodeFunctionData(called, [...args.slice(0, -1), NO_SIGNATURE]) : data
    return { kind, call, name, args, key: keccak256(`${called.selector}${unsigned.slice(10)}`) + contract }
  } catch (cause) {
    throw new GranaryError('relay.refused', `${name} does not take these arguments.`, { cause, contract, method })
  }
}

/** Whose act it is. The chain has checked the signature by then: nobody uses up another's budget. */
export async function personOf({ name, args }: RelayedAct, chain: Chain): Promise<string> {
  const [first, second] = args
  const read = (contract: string, method: string, ...asked: unknown[]) => chain.read({ contract, method, args: asked })
  const found = await people[name]?.({ args, first, second, read })
  if (typeof found !== 'string') throw new GranaryError('internal', `It is not known whose act ${name} is.`)
  return found.toLowerCase()
}

interface Named {
  args: Result
  first: Result
  second: unknown
  read(contract: string, method: string, ...args: unknown[]): Promise<unknown>
}

const datasetOwner = ({ first, read }: Named) => read('DatasetRegistry', 'ownerOf', first)
const memberAccount = ({ first, read }: Named) => read('Membership', 'ownerOf', first)
const operator = ({ first }: Named) => first
const payer = ({ first }: Named) => first.payer

/** Of everything in core/acts.ts that is not an errand. */
export const people: Record<string, (named: Named) => unknown> = {
  'Membership.join': ({ first }) => first.account,
  'Membership.leaveBySig': ({ first }) => first,
  'Membership.startRotationBySig': memberAccount,
  'Membership.cancelRotationBySig': memberAccount,
  'Membership.finishRotation': memberAccount,
  'DatasetRegistry.registerBySig': ({ first }) => first.owner,
  'DatasetRegistry.narrowBySig': datasetOwner,
  'DatasetRegistry.withdrawBySig': ({ second }) => second,
  'DatasetRegistry.announceShareTableBySig': datasetOwner,
  'DatasetRegistry.withdrawFromPoolBySig': ({ second }) => second,
  'ModelRegistry.registerBySig': ({ first }) => first.author,
  'ProviderRegistry.registerBySig': operator,
  'ProviderRegistry.stakeWithAuthorization': operator,
  'ProviderRegistry.startUnstakingBySig': operator,
  'ProviderRegistry.unstakeBySig': operator,
  'ProviderRegistry.setOfferBySig': operator,
  'ProviderRegistry.endOfferBySig': operator,
  'InferenceEscrow.depositWithAuthorization': payer,
  'InferenceEscrow.grantKeyBySig': payer,
  'InferenceEscrow.revokeKeyBySig': payer,
  'InferenceEscrow.startThawBySig': payer,
  'InferenceEscrow.cancelThawBySig': payer,
  'InferenceEscrow.withdrawBySig': payer,
  'InferenceEscrow.claimCreditBySig': ({ first }) => first,
  'RoyaltyLedger.claimBySig': ({ first }) => first.account,
  'CooperativeGovernor.proposeBySig': ({ args }) => args[4],
  'CooperativeGovernor.cancelBySig': async ({ args, read }) => {
    const id = await read('CooperativeGovernor', 'hashProposal', ...args.slice(0, 4))
    return read('CooperativeGovernor', 'proposalProposer', id)
  },
  'CooperativeGovernor.castVoteBySig': ({ args }) => args[2],
  'CooperativeGovernor.castVoteWithReasonAndParamsBySig': ({ args }) => args[2],
}

/**
 * True if the chain has what the act asks for: a repeat would cost gas and change nothing. Only of acts whose repeat the
 * contract takes.
 */
export async function isDone({ name, args }: RelayedAct, chain: Chain): Promise<boolean> {
  const [first, second] = args
  const read = (contract: string, method: string, ...asked: unknown[]) => chain.read({ contract, method, args: asked })
  switch (name) {
    case 'DatasetRegistry.storeTerms':
      return fieldOf(await read('DatasetRegistry', 'terms', termsHashOf(args)), 'validUntil') !== 0n
    case 'DatasetRegistry.withdrawBySig':
      return fieldOf(await read('DatasetRegistry', 'dataset', first), 'withdrawn') === true
    case 'DatasetRegistry.withdrawFromPoolBySig':
      return (await read('DatasetRegistry', 'leftPool', first, second)) !== 0n
    case 'InferenceEscrow.revokeKeyBySig':
      return fieldOf(await keyOf(args, read), 'revokedAt') !== 0n
    case 'Membership.activate':
      return fieldOf(await read('Membership', 'member', first), 'votes') === true
    case 'Membership.leaveBySig':
      return fieldOf(await read('Membership', 'member', await read('Membership', 'memberIdOf', first)), 'left') === true
    case 'Membership.cancelRotationBySig':
      return /^0x0{40}$/.test(String(fieldOf(await read('Membership', 'member', first), 'pendingKey')))
    default:
      return false
  }
}

/** Whether the key was ever granted: an account may revoke keys without number that nobody holds. */
export async function isGranted({ args }: RelayedAct, chain: Chain): Promise<boolean> {
  const read = (contract: string, method: string, ...asked: unknown[]) => chain.read({ contract, method, args: asked })
  return fieldOf(await keyOf(args, read), 'nonce') !== 0n
}

async function keyOf([account, key]: Result, read: Named['read']): Promise<unknown> {
  return read('InferenceEscrow', 'key', await read('InferenceEscrow', 'accountIdOf', account), key)
}

/** keccak256(abi.encode(terms)): terms have fields of fixed size only, so that is how the call carries them. */
function termsHashOf(args: Result): string {
  const data = interfaces.get('DatasetRegistry')?.encodeFunctionData('storeTerms', args.toArray()) ?? '0x'
  return keccak256(`0x${data.slice(10)}`)
}

function fieldOf(struct: unknown, field: string): unknown {
  return (struct as Record<string, unknown>)[field]
}
