import { describe, expect, it } from 'vitest'
import { parse } from '../../scripts/mutate/ast.ts'
import type { HandWritten } from '../../scripts/mutate/by-hand.ts'
import { lineOf, selectMutants } from '../../scripts/mutate/campaign.ts'
import { build } from '../../scripts/mutate/compile.ts'
import { Crew } from '../../scripts/mutate/crew.ts'
import { type Corpus, listMutants, type Mutant } from '../../scripts/mutate/mutants.ts'
import { sampleOf } from '../../scripts/mutate/plan.ts'
import { Runner, suitesOf } from '../../scripts/mutate/runner.ts'

const HEAD = '// SPDX-License-Identifier: Apache-2.0\npragma solidity 0.8.34;\n'
const PURSE = `${HEAD}
contract Purse {
    error Empty(uint256 held, uint256 wanted);
    event Paid(uint256 amount);

    uint256 public held;
    uint256 public paid;
    address private immutable OWNER = msg.sender;

    modifier onlyOwner() {
        require(msg.sender == OWNER, Empty(1, 2));
        _;
    }

    function put(uint256 amount) external {
        held += amount;
    }

    /// “Takes” what is there.
    function take(uint256 amount) external onlyOwner {
        require(amount <= held, Empty(held, amount + 1));
        unchecked {
            held -= amount;
        }
        paid += amount;
        emit Paid(amount + 1);
    }

    function low(uint256 word) external pure returns (uint256 half) {
        assembly {
            half := and(word, 0xff)
        }
    }
}
`
/** Nothing looks at what was paid. */
const TEST = `${HEAD}
import {Purse} from "../../contracts/Purse.sol";

contract PurseTest {
    Purse private purse = new Purse();

    function test_Take_GivesAllThatIsHeldAndNoMore() public {
        purse.put(10);
        try purse.take(11) {
            revert("took too much");
        } catch {}
        purse.take(10);
        require(purse.held() == 0, "something is left");
        require(purse.low(0x1234) == 0x34, "another half");
    }

    function test_Take_IsTheOwners() public {
        try new Stranger().take(purse) {
            revert("a stranger took");
        } catch {}
    }
}

contract Stranger {
    function take(Purse purse) external {
        purse.take(0);
    }
}
`

describe('the mutants of a contract', () => {
  it('are made where something happens, not where something is only told', () => {
    const mutants = listMutants(corpusOf(PURSE), [])
    const take = mutants.filter(({ where }) => where === 'Purse.take').map(({ rule, before }) => `${rule}: ${before}`)
    expect(take.sort()).toEqual([
      'drop-check: amount <= held',
      'drop-modifier: onlyOwner',
      'drop-write: held -= amount',
      'drop-write: paid += amount',
      'move-boundary: amount <= held',
      'swap-arithmetic: held -= amount',
      'swap-arithmetic: paid += amount',
      'swap-comparison: amount <= held',
    ])
    expect(mutants.filter(({ where }) => where === 'Purse.low').map(({ rule }) => rule)).toEqual([
      'assembly-swap',
      'assembly-move-number',
    ])
  })

  it('leave the step in a loop’s head alone, which is no statement of its own', () => {
    const stepped = PURSE.replace('held += amount;', 'for (uint256 step; step < amount; step += 2) held += 2;')
    const put = listMutants(corpusOf(stepped), []).filter(({ where }) => where === 'Purse.put')
    expect(put.map(({ rule, before }) => `${rule}: ${before}`).sort()).toEqual([
      'drop-write: held += 2',
      'move-boundary: step < amount',
      'move-number: 2',
      'move-number: 2',
      'swap-arithmetic: held += 2',
      'swap-comparison: step < amount',
    ])
  })

  it('keep their ids when lines move, and have one each', () => {
    const before = listMutants(corpusOf(PURSE), []).map(({ id }) => id)
    const moved = PURSE.replace(
      '    function take',
      '    function other() external {\n        held = 1;\n    }\n\n    function take',
    )
    const after = listMutants(corpusOf(moved), []).filter(({ where }) => where !== 'Purse.other')
    expect(after.map(({ id }) => id).sort()).toEqual([...before].sort())
    expect(new Set(before).size).toBe(before.length)
  })

  it('are killed by the tests that notice, each by itself; what no test looks at survives', async () => {
    const corpus = corpusOf(PURSE)
    const mutants = listMutants(corpus, [])
    const { compiled, refused } = build(corpus, mutants, ['test/contracts/Purse.t.sol'])
    expect(refused.size).toBe(0)
    const runner = await Runner.open(compiled)
    const look = { suites: suitesOf(compiled), fuzzRuns: 1, invariantRuns: 1, invariantDepth: 1 }
    expect((await runner.run(0, look)).map(({ ok }) => ok)).toEqual([true, true])
    const survived: string[] = []
    for (const [index, { rule, before }] of mutants.entries()) {
      const results = await runner.run(index + 1, look)
      if (results.every(({ ok }) => ok)) survived.push(`${rule}: ${before}`)
    }
    expect(survived).toEqual(['drop-write: paid += amount'])
  })
})

describe('a mutant that never ends', () => {
  const LOOP = PURSE.replace(
    'held += amount;',
    'uint256 left = amount; while (left != 0) { left = 0; emit Paid(left); } held += amount;',
  )
  const MOST_BYTES = 2 ** 30

  it('is ended with its worker before it takes the memory of the machine; the next one takes orders', async () => {
    const corpus = corpusOf(LOOP)
    const mutants = listMutants(corpus, []).filter(({ before }) => before === 'left = 0')
    const { compiled } = build(corpus, mutants, ['test/contracts/Purse.t.sol'])
    const looks = [{ suites: suitesOf(compiled), fuzzRuns: 1, invariantRuns: 1, invariantDepth: 1 }]
    using crew = new Crew(compiled, MOST_BYTES)
    expect(mutants).toHaveLength(1)
    expect(await crew.ask({ mutant: 1, looks, everything: true }, 600_000)).toBe('too slow')
    const answer = await crew.ask({ mutant: 0, looks, everything: true }, 60_000)
    expect(answer === 'too slow' ? answer : answer.results.map(({ ok }) => ok)).toEqual([true, true])
  })
})

describe('a mutant written by hand', () => {
  const byHand: HandWritten = {
    name: 'forgets',
    invariant: 'I1',
    file: 'Purse.sol',
    find: 'held -= amount;',
    replace: 'held = 0;',
  }

  it('replaces the text that it names', () => {
    const [mutant] = listMutants(corpusOf(PURSE), [byHand]).filter(({ rule }) => rule === 'by-hand')
    expect(mutant).toMatchObject({ id: 'Purse.take/by-hand/forgets', before: 'held -= amount;', after: 'held = 0;', line: 25 })
  })

  it('is refused when its text is gone or stands there twice', () => {
    const corpus = corpusOf(PURSE)
    expect(() => listMutants(corpus, [{ ...byHand, find: 'held -= sum;' }])).toThrow(/forgets must be mended.*found 0 times/s)
    expect(() => listMutants(corpus, [{ ...byHand, find: '+= amount' }])).toThrow(/found 2 times/)
    expect(() => listMutants(corpus, [{ ...byHand, find: '+= amount', within: 'put' }])).not.toThrow()
    expect(() => listMutants(corpus, [{ ...byHand, file: 'Gone.sol' }])).toThrow(/names no contract/)
  })
})

describe('what is tried', () => {
  const mutants = listMutants(corpusOf(PURSE), [])
  const choose = (options: { argued?: Record<string, string>; all?: boolean; only?: string[]; sample?: number }) =>
    selectMutants({ mutants, argued: {}, all: false, only: [], sample: 5, ...options }).mutants

  it('is a sample of all rules, the same each time', () => {
    expect(choose({}).map(({ id }) => id)).toEqual(sampleOf(mutants, 5).map(({ id }) => id))
    expect(new Set(choose({}).map(({ rule }) => rule)).size).toBe(5)
    expect(choose({ all: true })).toHaveLength(mutants.length)
  })

  it('leaves argued mutants out of the sample, and refuses arguments for mutants that are gone', () => {
    const [argued] = mutants as [Mutant]
    expect(choose({ argued: { [argued.id]: 'why' }, sample: 99 })).toHaveLength(mutants.length - 1)
    expect(() => choose({ argued: { 'Purse.take/drop-check/000000': 'why' } })).toThrow(/no longer exist.*000000/s)
    expect(() => choose({ only: ['Nobody.'] })).toThrow(/No mutant's id begins with/)
  })

  it('is summed up in one line', () => {
    const counts = { killed: 7, tooSlow: 1, argued: [], refused: 0, byHand: 2, survived: [], refuted: [] }
    expect(lineOf(counts)).toBe(
      '7 mutants (2 by hand): 7 killed (1 of them by taking too long or too much memory), 0 argued, 0 survived',
    )
  })
})

function corpusOf(contract: string): Corpus {
  const bytes = (text: string) => Buffer.from(text, 'utf8').toString('latin1')
  const files = ['contracts/Purse.sol']
  const contracts = new Map([['contracts/Purse.sol', bytes(contract)]])
  return { files, trees: parse(contracts), sources: new Map([...contracts, ['test/contracts/Purse.t.sol', bytes(TEST)]]) }
}
