const ADDS_NOTHING = 'What is not above zero adds nothing: the condition only saves the gas of writing it.'
const SHIFTED_OUT = 'A mask of 32 bits that is shifted by 32 or more is zero: the bound before it only says so.'

/**
 * Mutants that no test can kill, by id, and why: they do what the code does in every reachable state, or differ only in gas.
 * An entry whose mutant is gone is an error, and so is one whose mutant a test kills.
 */
export const ARGUED: Readonly<Record<string, string>> = {
  'EscrowAccounts.constructor/move-constant/a2d716':
    'Twice a whole number is never the odd number after the bound, which is even.',
  'InferenceEscrow._creditLanes/always/df75d2': ADDS_NOTHING,
  'InferenceEscrow._creditLanes/move-boundary/a23f8a': ADDS_NOTHING,
  'InferenceEscrow._creditLanes/always/1afac5': ADDS_NOTHING,
  'InferenceEscrow._creditLanes/move-boundary/956d09': ADDS_NOTHING,
  'InferenceEscrow._creditLanes/always/0acd5a': ADDS_NOTHING,
  'InferenceEscrow._creditLanes/move-boundary/add25f': ADDS_NOTHING,
  'Consent.has/move-boundary/6540f9': SHIFTED_OUT,
  'Consent.has/drop-operand/34fe10': SHIFTED_OUT,
  'Consent.has/move-constant/993a83': SHIFTED_OUT,
  'RoyaltyLedger._requireLeaf/drop-operand/3eae36':
    'No leaf and proof hash to a root of zero, so a table that is missing proves nothing anyway.',
  'Signatures.isBy/move-number/30ddbd':
    'An account without code answers nothing, and one byte of code no magic value: both are refused one line further on.',
}
