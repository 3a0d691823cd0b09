import { collectorFeeOf } from '../model/accounts.ts'
import { type Cooperative, epochAt } from '../model/cooperative.ts'
import type { Chain } from './chain.ts'
import type { Contract } from './deployment.ts'
import { consentQuestions, modelQuestions, workedOutQuestions } from './questions-consent.ts'
import { royaltyQuestions } from './questions-royalties.ts'
import type { Random } from './random.ts'
import type { World } from './world.ts'

const SAMPLE = 0.12

/** One view, and what it must answer: any of these, where the design leaves a choice. */
export interface Question {
  label: string
  contract: Contract
  call: string
  answers: string[]
}

export type Word = bigint | number | string | boolean

/** Asks one view about words; its answers are words too. */
export type Ask = (contract: Contract, method: string, args: readonly Word[], ...answers: (readonly Word[])[]) => Question

/** Everything that the model knows and the contracts show; of what they work out for any purpose, place and time, a sample. */
export function questionsOf(world: World, cooperative: Cooperative, random: Random): Question[] {
  const ask = askOf(world.chain)
  return [
    ...moneyQuestions(world, cooperative, ask),
    ...accountQuestions(cooperative, ask),
    ...consentQuestions(cooperative, ask),
    ...modelQuestions(cooperative, ask),
    ...royaltyQuestions(cooperative, ask),
    ...workedOutQuestions(cooperative, ask).filter(() => random.chance(SAMPLE)),
  ]
}

function moneyQuestions({ people }: World, cooperative: Cooperative, ask: Ask): Question[] {
  const { rules, tokens, credits, collectorFees, treasury, protocolFeePpm, batches } = cooperative
  const holders = [...people.map(({ address }) => address), rules.escrow, rules.timelock, treasury]
  return [
    ...holders.map((holder) => ask('Token', 'balanceOf', [holder], [tokens.get(holder) ?? 0n])),
    ...holders.map((holder) => ask('InferenceEscrow', 'credit', [holder], [credits.get(holder) ?? 0n])),
    ask('InferenceEscrow', 'owed', [], [owedIn(cooperative)]),
    ask('CooperativeParameters', 'protocolFeePpm', [], [protocolFeePpm]),
    ask('CooperativeParameters', 'treasury', [], [treasury]),
    ...[...collectorFees.keys()].map((collector) =>
      ask('InferenceEscrow', 'collectorFeePpm', [collector], [collectorFeeOf(cooperative, collector)]),
    ),
    ...[...batches].map(([name, root]) => ask('InferenceEscrow', 'batchRoot', name.split(' '), [root])),
    ask('RoyaltyLedger', 'currentEpoch', [], [epochAt(rules, cooperative.now)]),
  ]
}

/** Deposits less charges, credits, and royalties not yet paid. */
function owedIn({ accounts, credits, unpaidIncome }: Cooperative): bigint {
  let owed = unpaidIncome
  for (const { deposit, charged } of accounts.values()) owed += deposit - charged
  for (const credit of credits.values()) owed += credit
  return owed
}

function accountQuestions({ accounts }: Cooperative, ask: Ask): Question[] {
  const questions: Question[] = []
  for (const { id, deposit, charged, ownSpent, thawing, thawEndsAt, keys } of accounts.values()) {
    const balance = (endsAt: number) => [deposit, charged, ownSpent, thawing, endsAt]
    // Nobody says what a clock shows that nothing waits for.
    const forgotten = thawing === 0n ? [balance(0)] : []
    questions.push(ask('InferenceEscrow', 'balance', [id], balance(thawEndsAt), ...forgotten))
    for (const [key, { cap, spent, notAfter, revokedAt, nonce }] of keys) {
      const said = (until: number) => [cap, spent, until, revokedAt, nonce]
      // A revoked key's expiry is past mattering.
      questions.push(ask('InferenceEscrow', 'key', [id, key], said(notAfter), ...(revokedAt > 0 ? [said(revokedAt)] : [])))
    }
  }
  return questions
}

const selectors = new Map<string, string>()

function askOf(chain: Chain): Ask {
  return (contract, method, args, ...answers) => {
    const name = `${contract}.${method}`
    const selector = selectors.get(name) ?? chain.selector(contract, method)
    selectors.set(name, selector)
    return {
      label: `${name}(${args.join(', ')})`,
      contract,
      call: selector + wordsOf(args),
      answers: answers.map(wordsOf),
    }
  }
}

/** 32 bytes each, as the ABI has them: addresses and numbers to the right, longer hex as it is. */
export function wordsOf(words: readonly Word[]): string {
  return words.map((word) => (typeof word === 'string' ? word.slice(2) : BigInt(word).toString(16)).padStart(64, '0')).join('')
}
