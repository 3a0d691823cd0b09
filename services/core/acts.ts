/**
 * Acts that whoever pays the gas can refuse, but not change: they carry a person's own signature, or anyone may do them. The
 * gateway relays these, and so does anybody else.
 *
 * - `act`: a person's, by their signature
 * - `end`: a person's, which takes away what they had given or started
 * - `admission`: a newcomer's; the registrar's and members' signatures and the limit of growth bound it
 * - `errand`: nobody's in particular
 */
export type ActKind = 'act' | 'end' | 'admission' | 'errand'

export const acts = {
  Membership: {
    join: 'admission',
    activate: 'errand',
    leaveBySig: 'end',
    startRotationBySig: 'act',
    cancelRotationBySig: 'end',
    finishRotation: 'act',
  },
  DatasetRegistry: {
    storeTerms: 'errand',
    registerBySig: 'act',
    narrowBySig: 'end',
    withdrawBySig: 'end',
    announceShareTableBySig: 'act',
    withdrawFromPoolBySig: 'end',
    proveExit: 'errand',
  },
  ModelRegistry: { registerBySig: 'act', sync: 'errand' },
  ProviderRegistry: {
    registerBySig: 'act',
    stakeWithAuthorization: 'act',
    startUnstakingBySig: 'act',
    unstakeBySig: 'act',
    setOfferBySig: 'act',
    endOfferBySig: 'act',
  },
  InferenceEscrow: {
    depositWithAuthorization: 'act',
    grantKeyBySig: 'act',
    revokeKeyBySig: 'end',
    startThawBySig: 'act',
    cancelThawBySig: 'act',
    withdrawBySig: 'act',
    claimCreditBySig: 'act',
    claimCreditFor: 'errand',
  },
  RoyaltyLedger: { pull: 'errand', claimBySig: 'act' },
  CooperativeGovernor: {
    proposeBySig: 'act',
    cancelBySig: 'end',
    castVoteBySig: 'act',
    castVoteWithReasonAndParamsBySig: 'act',
    queue: 'errand',
    execute: 'errand',
  },
} as const satisfies Record<string, Record<string, ActKind>>

/** One of them, ready to be sent by anybody. Integers are numbers, bigints or decimal strings. */
export interface SignedAct {
  contract: string
  method: string
  args: readonly unknown[]
}

/** What `granary relay` reads: acts in the order in which they must happen, and where their contracts are. */
export interface ActFile {
  granary: 'acts/1'
  chainId: string
  contracts: Record<string, string>
  acts: SignedAct[]
}

/** Null for what nobody relays. */
export function kindOfAct({ contract, method }: Pick<SignedAct, 'contract' | 'method'>): ActKind | null {
  if (!Object.hasOwn(acts, contract)) return null
  const methods: Record<string, ActKind> = acts[contract as keyof typeof acts]
  return Object.hasOwn(methods, method) ? (methods[method] ?? null) : null
}
