import type { Counts } from './counts.ts'

/** What histories must reach for a run to mean something; words are those of counts.ts. */
export const ACTS = [
  ...['store-terms', 'register-dataset', 'narrow', 'withdraw', 'announce', 'leave-pool', 'prove-exit'],
  ...['register-model', 'sync', 'suspend', 'deposit', 'deposit-signed', 'grant-key', 'revoke-key', 'start-thaw', 'cancel-thaw'],
  ...['withdraw-deposit', 'set-collector-fee', 'set-protocol-fee', 'set-treasury', 'claim-credit', 'settle', 'pull', 'claim'],
].map((kind) => `act ${kind}`)

export const SKIPS = ['Stale', 'Unsigned', 'OverCeiling', 'OverCap', 'Unfunded', 'KeyEnded', 'LaneRefused'].map(
  (reason) => `skip ${reason}`,
)

export const SITUATIONS = [
  ...['register-dataset', 'narrow', 'withdraw', 'leave-pool', 'register-model'].map((kind) => `signed ${kind}`),
  ...['grant-key', 'revoke-key', 'start-thaw', 'settle', 'claim'].map((kind) => `signed ${kind}`),
  ...['batch executed', 'batch repeated', 'row applied', 'lane settled', 'lane refused'],
  ...['first model', 'derived model', 'exit proven', 'nothing proven', 'late pull'],
  ...['claim from pool', 'claim of owner', 'claim of author', 'claim over several epochs', 'claim after withdrawal'],
  'claim by an earlier table',
  ...['several payers', 'several collectors', 'granted keys', 'income in several epochs', 'a pool of several tables'].map(
    (what) => `history with ${what}`,
  ),
  ...['a pool in a lineage', 'a withdrawal', 'an end in force', 'several proven exits'].map((what) => `history with ${what}`),
  'history over several epochs',
]

/** Every refusal that the model knows, but one: see the tests of ModelRegistry for 33 payees. */
export const ERRORS = [
  ...['Ended', 'Exists', 'NotOwner', 'NotPool', 'NothingNarrowed', 'SignatureExpired', 'SignatureInvalid'].map(of('Dataset')),
  ...['TableEpochInvalid', 'TableInvalid', 'TableTaken', 'TermsInvalid', 'TermsUnknown', 'Unknown'].map(of('Dataset')),
  ...['DerivativesNotAllowed', 'DuplicateParent', 'Exists', 'NotAuthor', 'NotGovernance', 'PurposesTooWide'].map(of('Model')),
  ...['ShareTooLow', 'SharesTooHigh', 'SignatureExpired', 'SignatureInvalid', 'TrainingNotPermitted', 'Unknown'].map(of('Model')),
  ...['AmountInvalid', 'FeeTooHigh', 'KeyInvalid', 'KeyIsRevoked', 'KeyNarrowed', 'LaneUnknown', 'NonceUsed'].map(of('Escrow')),
  ...['NotCollector', 'NotPayer', 'NothingThawing', 'NothingToClaim', 'ReceiptsRootMissing', 'SignatureExpired'].map(
    of('Escrow'),
  ),
  ...['SignatureInvalid', 'StillThawing', 'ThawTooLong', 'ThawTooShort'].map(of('Escrow')),
  ...['AddressInvalid', 'FeeTooHigh', 'NotTimelock'].map(of('Parameters')),
  ...['EpochOpen', 'EpochsInvalid', 'FeeTooHigh', 'NotPayee', 'NothingToClaim', 'PayeeMismatch', 'PayeeUnknown'].map(
    of('Royalty'),
  ),
  ...['ProofInvalid', 'SignatureExpired', 'SignatureInvalid', 'SignatureUsed'].map(of('Royalty')),
  ...['InsufficientBalance'].map(of('ERC20')),
  ...['InvalidAuthorizationTime', 'InvalidSignature', 'UsedAuthorization'].map(of('ERC3009')),
].map((name) => `error ${name}`)

export function missing(counts: Counts, { least, of: expected }: { least: number; of: readonly string[] }): string[] {
  return expected.filter((what) => (counts.get(what) ?? 0) < least).map((what) => `${what}: ${counts.get(what) ?? 0}`)
}

function of(contract: string): (fact: string) => string {
  return (fact) => `${contract}${fact}`
}
