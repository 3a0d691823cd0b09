import { child, type Node, nodes, type Range, rangeOf } from './ast.ts'
import { type Corpus, type Mutant, withSemicolon } from './mutants.ts'
import { refuse } from './sources.ts'

const SWITCH_FILE = 'mutation-switch.sol'

/** Its question is `pure` to the compiler, so that it can be asked in functions that read nothing. */
const SWITCH = `// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

library MutationSwitch {
    function on(uint256 mutant) internal pure returns (bool) {
        return _asPure(_coinbase)() == mutant;
    }

    function _coinbase() private view returns (uint256) {
        return uint160(address(block.coinbase));
    }

    function _asPure(function() view returns (uint256) asks) private pure returns (function() pure returns (uint256) answers) {
        assembly {
            answers := asks
        }
    }
}
`

/** A range of a source that reads differently while one of its mutants runs; ranges lie within each other or apart. */
interface Place extends Range {
  kind: 'expression' | 'statement' | 'text'
  choices: { number: number; text: string }[]
  inner: Place[]
}

/**
 * The sources with all these mutants in them; the mutant at index i runs while the block's coinbase is i + 1, which no
 * contract of ours reads and the test runner sets. So a mutant costs a run of tests instead of a compilation.
 */
export function withMutants(corpus: Corpus, mutants: readonly Mutant[], without: ReadonlySet<Mutant>): Map<string, string> {
  const places = new Map<string, Place[]>()
  const add = (file: string, place: Omit<Place, 'inner'>) =>
    places.set(file, [...(places.get(file) ?? []), { ...place, inner: [] }])
  const copies: { number: number; modifier: Modifier }[] = []
  for (const [index, mutant] of mutants.entries()) {
    if (without.has(mutant)) continue
    const { file, start, end, kind, replacement } = mutant
    const number = index + 1
    if (kind === 'modifier') {
      const modifier = modifierNamed(replacement.trim(), corpus)
      copies.push({ number, modifier })
      add(file, { start, end, kind: 'text', choices: [{ number, text: copyName(modifier, number) }] })
    } else {
      const range = kind === 'statement' ? withSemicolon(corpus.sources.get(file) ?? '', { start, end }) : { start, end }
      add(file, { ...range, kind, choices: [{ number, text: replacement }] })
    }
  }
  for (const { number, modifier } of copies) {
    const source = corpus.sources.get(modifier.file) ?? ''
    const body = render(source, modifier.body, nest(places.get(modifier.file) ?? []))
    const text = `\n    modifier ${copyName(modifier, number)}() { if (MutationSwitch.on(${number})) { _; } else ${body} }\n`
    add(modifier.file, { start: modifier.end, end: modifier.end, kind: 'text', choices: [{ number, text }] })
  }
  const rewritten = [...places].map(([file, list]): [string, string] => {
    const source = corpus.sources.get(file) ?? ''
    const text = render(source, { start: 0, end: source.length }, nest(list))
    return [file, `${text}\nimport {MutationSwitch} from "${SWITCH_FILE}";\n`]
  })
  return new Map([...corpus.sources, [SWITCH_FILE, SWITCH], ...rewritten])
}

/** The mutants whose own text stands where the compiler complains; where there is none, those inside what it complains of. */
export function mutantsAt(text: string, { start, end }: Range): number[] {
  const around: number[] = []
  const inside: number[] = []
  for (const { index, 1: number = '', 0: mark } of text.matchAll(/\/\*mutant (\d+)\*\//g)) {
    const last = text.indexOf(`/*end ${number}*/`, index + mark.length)
    if (index <= start && start < last) around.push(Number(number))
    else if (start <= index && last <= end) inside.push(Number(number))
  }
  return around.length > 0 ? around : inside
}

interface Modifier {
  name: string
  file: string
  body: Range
  end: number
}

/** A function that leaves out a modifier gets a copy of it instead, because its use can't stand under a condition. */
function modifierNamed(name: string, { trees, sources }: Corpus): Modifier {
  for (const file of sources.keys()) {
    if (!trees.has(file)) continue
    for (const definition of nodes(trees.of(file), 'nodes').flatMap((unit: Node) => nodes(unit, 'nodes'))) {
      const body = child(definition, 'body')
      if (definition.nodeType !== 'ModifierDefinition' || definition.name !== name || body === null) continue
      return { name, file, body: rangeOf(body), end: rangeOf(definition).end }
    }
  }
  throw refuse(`No source defines the modifier ${name}.`)
}

function copyName({ name }: Modifier, number: number): string {
  return `${name}_${number}`
}

function nest(places: readonly Place[]): Place[] {
  const sorted = places.map((place) => ({ ...place, choices: [...place.choices], inner: [] as Place[] }))
  sorted.sort((a, b) => a.start - b.start || b.end - a.end)
  const top: Place[] = []
  const open: Place[] = []
  for (const place of sorted) {
    while ((open.at(-1)?.end ?? Number.POSITIVE_INFINITY) <= place.start && open.length > 0) open.pop()
    const around = open.at(-1)
    if (around !== undefined && around.start === place.start && around.end === place.end && around.kind === place.kind) {
      around.choices.push(...place.choices)
      continue
    }
    if (around === undefined) top.push(place)
    else around.inner.push(place)
    if (place.end > place.start) open.push(place)
  }
  return top
}

function render(source: string, range: Range, places: readonly Place[]): string {
  let text = ''
  let at = range.start
  for (const place of places.flatMap((one) => within(one, range))) {
    text += source.slice(at, place.start) + renderPlace(source, place)
    at = place.end
  }
  return text + source.slice(at, range.end)
}

/** The place, or those inside it where it reaches beyond the range. */
function within(place: Place, range: Range): Place[] {
  if (place.end <= range.start || place.start >= range.end) return []
  if (place.start >= range.start && place.end <= range.end) return [place]
  return place.inner.flatMap((inner) => within(inner, range))
}

function renderPlace(source: string, place: Place): string {
  const inner = render(source, place, place.inner)
  if (place.kind === 'text') return place.choices.map(({ text }) => text).join('') + (place.end > place.start ? '' : inner)
  const marked = place.choices.map(({ number, text }) => ({ number, text: `/*mutant ${number}*/${text}/*end ${number}*/` }))
  return place.kind === 'expression'
    ? `(${marked.map(({ number, text }) => `MutationSwitch.on(${number}) ? (${text}) : `).join('')}(${inner}))`
    : `{ ${marked.map(({ number, text }) => `if (MutationSwitch.on(${number})) { ${text} } else `).join('')}{ ${inner} } }`
}
