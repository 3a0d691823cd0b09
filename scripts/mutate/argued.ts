const ADDS_NOTHING = 'What is not above zero adds nothing: the condition only saves the gas of writing it.'
const BEFORE_TIME =
  'It differs only where a growth window reaches back to the very second 0 of 1970, in which nobody joined or had a vote.'
const NO_DELEGATION = 'Only delegation asks for it, and nobody can delegate.'
const SAME_AGAIN = 'It does again what was done, to the same end: the condition only saves the gas.'
const NO_TABLE = 'Where there is no table its root is zero, to which no leaf and proof hash: it proves nothing anyway.'
const SHIFTED_OUT = 'A mask of 32 bits that is shifted by 32 or more is zero: the bound before it only says so.'
const BEYOND_THE_LAST =
  'It looks at one purpose beyond the last, which no mask has: Consent.has says no before anything is written.'
const BEYOND_THE_WORD =
  'It looks at one purpose beyond the last, which no mask has and which is not the last of its word: nothing is packed or written.'
const NEVER_STORED = 'No end of a purpose beyond the last is ever stored, so that what is read there is 0.'
const NOT_OF_DATA = 'Of an entry that is no dataset, nobody reads when it was trained.'

/**
 * Mutants that no test can kill, by id, and why: they do what the code does in every reachable state, or differ only in gas.
 * An entry whose mutant is gone is an error, and so is one whose mutant a test kills.
 */
export const ARGUED: Readonly<Record<string, string>> = {
  'EscrowAccounts.constructor/move-constant/a2d716':
    'Twice a whole number is never the odd number after the bound, which is even.',
  'EscrowAccounts._revoke/move-boundary/9259a1': 'Where the two are equal, either is the same end.',
  'CooperativeGovernor.classOf/move-boundary/b41959':
    'The class of a call that is as strict as the strictest before it is the same class.',
  'InferenceEscrow.setCollectorFee/always/1970bc':
    'A fee that does not rise acts from this very second on, so the one before it is never read again.',
  'InferenceEscrow._creditLanes/always/df75d2': ADDS_NOTHING,
  'InferenceEscrow._creditLanes/move-boundary/a23f8a': ADDS_NOTHING,
  'InferenceEscrow._creditLanes/always/1afac5': ADDS_NOTHING,
  'InferenceEscrow._creditLanes/move-boundary/956d09': ADDS_NOTHING,
  'InferenceEscrow._creditLanes/always/0acd5a': ADDS_NOTHING,
  'InferenceEscrow._creditLanes/move-boundary/add25f': ADDS_NOTHING,
  'ModelRegistry._register/move-constant/2f0aca': NOT_OF_DATA,
  'ModelRegistry._addParents/move-constant/68e9ee': NOT_OF_DATA,
  'ModelRegistry.sync/drop-operand/973eae':
    'What is stored of a purpose that the model does not have is 0, and no end is below it.',
  'ModelRegistry.sync/move-boundary/3c91c4': BEYOND_THE_LAST,
  'ModelRegistry.sync/move-constant/64dfcd': BEYOND_THE_LAST,
  'ModelRegistry._storeEnds/move-boundary/06e94b': BEYOND_THE_WORD,
  'ModelRegistry._storeEnds/move-constant/369f58': BEYOND_THE_WORD,
  'ModelRegistry._storeEnds/always/e0dd42':
    'The model is new, so nothing is written over nothing: the condition only saves the gas.',
  'ModelRegistry._storeEnds/move-number/6f16e6':
    'No end is the second 1 of 1970, which alone is packed as 1; and where nothing is packed, nothing is written over nothing.',
  'ModelRegistry._endOf/always/dae387': NEVER_STORED,
  'ModelRegistry._endOf/move-boundary/d2abed': NEVER_STORED,
  'ModelRegistry._endOf/move-constant/4d742f': NEVER_STORED,
  'ModelRegistry.suspend/move-boundary/86cb5c': 'Where the two are equal, either is the same date.',
  'Membership._requireRoomToGrow/move-boundary/820597': BEFORE_TIME,
  'Membership._requireRoomToGrow/move-time/93e569': BEFORE_TIME,
  'Membership._requireRoomToGrow/move-time/ed8af7': BEFORE_TIME,
  'Membership._requireRoomToGrow/move-number/138322': BEFORE_TIME,
  'Membership._getVotingUnits/never/47ccb2': NO_DELEGATION,
  'Membership._getVotingUnits/always/7e4db8': NO_DELEGATION,
  'Membership._getVotingUnits/move-number/17d264': NO_DELEGATION,
  'Membership._getVotingUnits/move-number/105aad': NO_DELEGATION,
  'DatasetRegistry._register/always/1f5e5a':
    'Only here is a recovery address written, once for each dataset: without one, nothing is written over nothing.',
  'DatasetRegistry._narrow/move-boundary/1aefc1': 'Where the two are equal, either is the same end.',
  'DatasetRegistry._narrow/always/1370ad':
    'No purpose that is lost adds none, and the loop finds none to end: the condition only saves the gas.',
  'DatasetRegistry._narrow/always/fb5ec3': 'No place that is lost adds none: the condition only saves the gas of writing it.',
  'DatasetRegistry._narrow/move-boundary/3dd2c9': BEYOND_THE_LAST,
  'DatasetRegistry._narrow/move-constant/fbda06': BEYOND_THE_LAST,
  'DatasetRegistry.serveEnds/move-boundary/77a1c3': BEYOND_THE_LAST,
  'DatasetRegistry.serveEnds/move-constant/01d098': BEYOND_THE_LAST,
  'DatasetRegistry._retrainEnd/never/fcff2c':
    'Only of a pool can an exit be proven, and a dataset that is none never becomes one: there is no exit, which says never.',
  'DatasetPools.proveExit/never/d21a11': NO_TABLE,
  'DatasetPools.proveExit/move-boundary/e32c0d': NO_TABLE,
  'DatasetPools._announce/drop-operand/3dc8a9': 'Without a table the latest begins at 0, which every epoch to come is after.',
  'DatasetPools._tablesUpTo/drop-operand/24447b': 'Without a table the latest begins at 0, and how many there are is 0 already.',
  'DatasetPools._tablesUpTo/drop-assignment/f713f6':
    'The latest table begins after the epoch here: looking at it too finds the same, a step later.',
  'Consent.afterEnd/always/d50754': 'Terms have sunset seconds under that policy alone: under another, nothing is added.',
  'Consent.plus/move-boundary/6ee065': 'A sum that is NEVER is NEVER either way.',
  'Consent.earlier/move-boundary/dd5195': 'Where the two are equal, either is the same time.',
  'Consent.has/move-boundary/6540f9': SHIFTED_OUT,
  'Consent.has/drop-operand/34fe10': SHIFTED_OUT,
  'Consent.has/move-constant/993a83': SHIFTED_OUT,
  'RoyaltyLedger._requireLeaf/drop-operand/3eae36':
    'No leaf and proof hash to a root of zero, so a table that is missing proves nothing anyway.',
  'RoyaltyLedger._draw/always/f6f496': SAME_AGAIN,
  'RoyaltyLedger._draw/drop-assignment/b86dc0': SAME_AGAIN,
  'RoyaltyLedger._drawAll/always/494305': SAME_AGAIN,
  'RoyaltyLedger._drawShare/never/10af22': SAME_AGAIN,
  'RoyaltyLedger._drawShare/move-boundary/197476':
    'Where the two are equal, their difference is the nothing that the other branch gives.',
  'RoyaltyLedger._drawShare/move-boundary/8584e3': 'Where the two are equal, either is the same amount.',
  'RoyaltyLedger.pull/move-number/07845d': 'What all payees get together is the same whichever purpose is asked for.',
  'Signatures.isBy/move-number/30ddbd':
    'An account without code answers nothing, and one byte of code no magic value: both are refused one line further on.',
}
