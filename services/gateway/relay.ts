import { Interface, type InterfaceAbi } from 'ethers'
import type { Log } from '../adapters/log.ts'
import { GranaryError } from '../core/errors.ts'
import { abi } from '../core/generated/abi.ts'
import type { Call, Chain, TransactionOutcome } from '../core/ports.ts'

/**
 * Acts that carry a person's own signature, or that anyone may call: the gateway pays the gas within a budget. It can
 * refuse, but not change them; anyone else may relay the same signature.
 */
const relayable: Record<string, readonly string[]> = {
  DatasetRegistry: ['storeTerms', 'registerBySig', 'narrowBySig', 'withdrawBySig', 'withdrawFromPoolBySig', 'proveExit'],
  ModelRegistry: ['registerBySig', 'sync'],
  InferenceEscrow: [
    'depositWithAuthorization',
    'grantKeyBySig',
    'revokeKeyBySig',
    'startThawBySig',
    'cancelThawBySig',
    'withdraw',
    'withdrawBySig',
    'claimCreditFor',
    'claimCreditBySig',
  ],
  RoyaltyLedger: ['pull', 'claimBySig'],
  Membership: ['join', 'activate', 'leaveBySig', 'finishRotation'],
  CooperativeGovernor: ['castVoteBySig', 'queue', 'execute'],
}

/** Own names only: every object also has a `constructor`. */
function methodsOf(contract: string): readonly string[] {
  return Object.hasOwn(relayable, contract) ? (relayable[contract] ?? []) : []
}

const interfaces = new Map(
  Object.entries(abi as Record<string, InterfaceAbi>).map(([name, known]) => [name, new Interface(known)]),
)

/** Callers write the arguments themselves: what does not encode is their mistake, not the chain's. */
function checkArguments({ contract, method, args }: Call): void {
  try {
    const known = interfaces.get(contract)
    const called = known?.getFunction(method, [...args])
    if (!known || !called) throw new TypeError('no such arguments')
    known.encodeFunctionData(called, [...args])
  } catch (cause) {
    throw new GranaryError('relay.refused', `${contract}.${method} does not take these arguments.`, { cause, contract, method })
  }
}

/** Ends of consent are relayed even when the budget is spent: they must not wait for it. */
const unbudgeted = new Set(['withdrawBySig', 'withdrawFromPoolBySig', 'narrowBySig', 'leaveBySig', 'revokeKeyBySig'])

export interface Relay {
  submit(call: Call): Promise<TransactionOutcome>
}

export function openRelay(options: { chain: Chain; perMinute: number; clockMs: () => number; log: Log }): Relay {
  const { chain, perMinute, clockMs, log } = options
  let windowStart = clockMs()
  let used = 0
  return {
    async submit(call) {
      if (!methodsOf(call.contract).includes(call.method)) {
        throw new GranaryError('relay.refused', `${call.contract}.${call.method} is not relayed here.`, { relayable })
      }
      checkArguments(call)
      if (clockMs() - windowStart >= 60_000) {
        windowStart = clockMs()
        used = 0
      }
      if (used >= perMinute && !unbudgeted.has(call.method)) {
        throw new GranaryError('relay.budget', 'The gateway has relayed as many acts as it pays for in a minute.', { perMinute })
      }
      used += 1
      try {
        const outcome = await chain.submit(call)
        log.info({ event: 'act.relayed', contract: call.contract, method: call.method, transaction: outcome.hash })
        return outcome
      } catch (error) {
        if (error instanceof GranaryError && error.code === 'chain.reverted') {
          throw new GranaryError('relay.refused', error.message, { ...error.evidence, cause: error })
        }
        throw error
      }
    },
  }
}
