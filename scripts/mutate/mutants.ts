import { createHash } from 'node:crypto'
import { assemblyChanges } from './assembly.ts'
import { child, type Node, type Range, rangeOf, type Trees, walk } from './ast.ts'
import { BY_HAND, type HandWritten } from './by-hand.ts'
import { type Change, changesAt, isCallOf } from './rules.ts'
import { fromUtf8, refuse, type Sources, toUtf8 } from './sources.ts'

export interface Mutant extends Change {
  /** Stays the same while the function's text at this place does, wherever the function moves. */
  id: string
  file: string
  /** `Contract.function` */
  where: string
  line: number
  /** For people: what was there, and what is there instead. */
  before: string
  after: string
  /** Which invariant of the design a hand-written one breaks. */
  invariant?: string
}

interface Found extends Change {
  file: string
  where: string
  shown?: Range & { after: string }
  invariant?: string
  name?: string
}

export interface Corpus {
  sources: Sources
  trees: Trees
  files: readonly string[]
}

/** All mutants: by rule in the order of the sources, then those written by hand. */
export function listMutants(corpus: Corpus, byHand: readonly HandWritten[] = BY_HAND): Mutant[] {
  const found = [...corpus.files.flatMap((file) => changesIn(file, corpus)), ...byHand.map((one) => locate(one, corpus))]
  const seen = new Map<string, number>()
  return found.map((change) => {
    const text = textOf(change.file, corpus)
    const range = change.shown ?? change
    const before = toUtf8(text.slice(range.start, range.end))
    const after = toUtf8(change.shown?.after ?? change.replacement)
    const key = `${change.where}/${change.rule}/${squeeze(before)}=>${squeeze(after)}`
    const nth = seen.get(key) ?? 0
    seen.set(key, nth + 1)
    const fingerprint = createHash('sha256').update(`${key}#${nth}`).digest('hex').slice(0, 6)
    const id =
      change.name === undefined ? `${change.where}/${change.rule}/${fingerprint}` : `${change.where}/by-hand/${change.name}`
    return { ...change, id, before, after, line: text.slice(0, range.start).split('\n').length }
  })
}

function changesIn(file: string, { sources, trees }: Corpus): Found[] {
  const source = sources.get(file) ?? ''
  const text = (range: Range) => source.slice(range.start, range.end)
  const found: Found[] = []
  walk(trees.of(file), (node, path) => {
    if (isSilent(node, path)) return false
    const where = placeOf(path)
    if (where === null) return true
    const site = { node, path, trees, text }
    for (const change of [...changesAt(site), ...assemblyChanges(site)]) found.push({ ...change, file, where })
    return node.nodeType !== 'InlineAssembly'
  })
  return found
}

/** What only tells: events, errors and their evidence; and what is settled before anything runs. */
function isSilent(node: Node, path: readonly Node[]): boolean {
  if (node.nodeType === 'EmitStatement' || node.nodeType === 'RevertStatement') return true
  if (node.nodeType === 'VariableDeclaration' && node.constant === true) return true
  const parent = path.at(-1)
  if (parent?.nodeType !== 'FunctionCall' || !isCallOf(parent, 'require')) return false
  return Array.isArray(parent.arguments) && parent.arguments[1] === node
}

function placeOf(path: readonly Node[]): string | null {
  const inside = path.findLast(({ nodeType }) => nodeType === 'FunctionDefinition' || nodeType === 'ModifierDefinition')
  if (inside === undefined) return null
  const contract = path.find(({ nodeType }) => nodeType === 'ContractDefinition')
  const name = inside.kind === 'constructor' ? 'constructor' : String(inside.name)
  return contract === undefined ? name : `${String(contract.name)}.${name}`
}

/** Finds the text that a hand-written mutant replaces, and the smallest statement or block around it. */
function locate(one: HandWritten, { sources, trees, files }: Corpus): Found {
  const file = files.find((name) => name.endsWith(`/${one.file}`))
  const source = file === undefined ? undefined : sources.get(file)
  if (file === undefined || source === undefined)
    throw refuse(`The hand-written mutant ${one.name} names no contract: ${one.file}`)
  const [wanted, found] = [fromUtf8(one.find), [] as Found[]]
  const places = allIn(source, wanted).map((start) => ({ start, end: start + wanted.length }))
  for (const shown of places) {
    const around = enclosing(trees.of(file), shown, one.within)
    if (around === null) continue
    const after = fromUtf8(one.replace)
    const range = withSemicolon(source, around.node)
    const end = Math.max(range.end, shown.end)
    const replacement = source.slice(range.start, shown.start) + after + source.slice(shown.end, end)
    found.push({
      ...{ start: range.start, end, rule: 'by-hand', kind: 'statement' as const, replacement },
      ...{ file, where: around.where, name: one.name, invariant: one.invariant, shown: { ...shown, after } },
    })
  }
  const [only] = found
  if (only !== undefined && found.length === 1) return only
  throw refuse(
    `The hand-written mutant ${one.name} must be mended in scripts/mutate/by-hand/: in ${one.file}${one.within === undefined ? '' : `, ${one.within}`}, ` +
      `its text is found ${found.length} times:\n  ${one.find}`,
  )
}

function allIn(text: string, wanted: string): number[] {
  const found: number[] = []
  for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + 1)) found.push(at)
  return found
}

/** A declaration can't be put under a condition without hiding its name, so the block around it is taken instead. */
function enclosing(tree: Node, wanted: Range, within: string | undefined): { node: Node; where: string } | null {
  let best: { node: Node; where: string } | null = null
  walk(tree, (node, path) => {
    const range = rangeOf(node)
    if (range.start > wanted.start || range.end + 1 < wanted.end) return false
    const where = placeOf(path)
    const fits = where !== null && (within === undefined || where.endsWith(`.${within}`) || where === within)
    if (fits && isStatement(node, path)) best = { node, where }
    return node.nodeType !== 'InlineAssembly'
  })
  return best
}

const STATEMENTS = new Set([
  'ExpressionStatement',
  'IfStatement',
  'ForStatement',
  'WhileStatement',
  'Return',
  'Block',
  'InlineAssembly',
  'UncheckedBlock',
])

function isStatement(node: Node, path: readonly Node[]): boolean {
  const parent = path.at(-1)
  if (!STATEMENTS.has(node.nodeType) || parent === undefined) return false
  // The body of a function or modifier is kept as a block; what is in a loop's head is no statement of its own.
  if (parent.nodeType === 'ForStatement') return child(parent, 'body') === node
  return true
}

/** The range of a statement together with its semicolon, which solc leaves out. */
export function withSemicolon(text: string, node: Node | Range): Range {
  const { start, end } = 'nodeType' in node ? rangeOf(node) : node
  const rest = /^\s*;/.exec(text.slice(end, end + 200))
  return { start, end: end + (rest?.[0].length ?? 0) }
}

function textOf(file: string, { sources }: Corpus): string {
  return sources.get(file) ?? ''
}

function squeeze(text: string): string {
  return text.replaceAll(/\s+/g, ' ').trim()
}
