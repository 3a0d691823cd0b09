import { child, type Node, nodes, type Range, rangeOf, type Trees, typeOf } from './ast.ts'

/** One change that a rule makes. A statement's replacement is itself statements, an expression's an expression. */
export interface Change extends Range {
  rule: string
  kind: 'expression' | 'statement' | 'modifier'
  replacement: string
}

export interface Site {
  node: Node
  path: readonly Node[]
  trees: Trees
  text(range: Range): string
}

type Rule = (site: Site) => Change[]

/** Everything that the rules change at this node. */
export function changesAt(site: Site): Change[] {
  return RULES.flatMap((rule) => rule(site))
}

const MOVED_BOUNDARY: Record<string, string> = { '<': '<=', '<=': '<', '>': '>=', '>=': '>' }
const SWAPPED: Record<string, string> = { '<': '>', '<=': '>=', '>': '<', '>=': '<=', '==': '!=', '!=': '==' }
const ARITHMETIC: Record<string, string> = {
  '+': '-',
  '-': '+',
  '*': '/',
  '/': '*',
  '%': '*',
  '<<': '>>',
  '>>': '<<',
  '&': '|',
  '|': '&',
  '^': '&',
}

const dropCheck: Rule = (site) => {
  const [condition] = site.node.nodeType === 'FunctionCall' && isCallOf(site.node, 'require') ? nodes(site.node, 'arguments') : []
  return condition === undefined ? [] : [expression('drop-check', condition, 'true')]
}

const decide: Rule = ({ node, path }) => {
  if (node.nodeType === 'Conditional') return always(child(node, 'condition'))
  if (node.nodeType !== 'IfStatement') return []
  // An `if` that only reverts is a check: dropping it is what a mistake would look like.
  const parent = path.at(-1)
  const inLoopHead = parent?.nodeType === 'ForStatement' && parent.body !== node
  return inLoopHead ? [] : always(child(node, 'condition'))
}

function always(condition: Node | null): Change[] {
  return condition === null ? [] : [expression('never', condition, 'false'), expression('always', condition, 'true')]
}

const dropOperand: Rule = (site) => {
  const found = binary(site.node, ['&&', '||'])
  if (found === null) return []
  return [
    expression('drop-operand', site.node, site.text(rangeOf(found.left))),
    expression('drop-operand', site.node, site.text(rangeOf(found.right))),
  ]
}

const compare: Rule = (site) => {
  const found = binary(site.node, Object.keys(SWAPPED))
  if (found === null) return []
  const { operator, left, right } = found
  const written = (other: string) => `(${site.text(rangeOf(left))}) ${other} (${site.text(rangeOf(right))})`
  const moved = MOVED_BOUNDARY[operator]
  const swapped = expression('swap-comparison', site.node, written(SWAPPED[operator] ?? operator))
  return moved === undefined ? [swapped] : [expression('move-boundary', site.node, written(moved)), swapped]
}

const calculate: Rule = (site) => {
  const found = binary(site.node, Object.keys(ARITHMETIC))
  if (found === null) return []
  const other = ARITHMETIC[found.operator] ?? found.operator
  const written = `(${site.text(rangeOf(found.left))}) ${other} (${site.text(rangeOf(found.right))})`
  return [expression('swap-arithmetic', site.node, written)]
}

const assignOtherwise: Rule = ({ node, path, text }) => {
  const operator = String(node.operator ?? '').slice(0, -1)
  const other = ARITHMETIC[operator]
  const [left, right] = [child(node, 'leftHandSide'), child(node, 'rightHandSide')]
  if (node.nodeType !== 'Assignment' || other === undefined || left === null || right === null) return []
  const around = path.at(-1)
  if (around?.nodeType !== 'ExpressionStatement' || isLoopStep(around, path.slice(0, -1))) return []
  return [statement('swap-arithmetic', node, `${text(rangeOf(left))} ${other}= ${text(rangeOf(right))};`)]
}

/** In a loop's head: it is no statement of its own, and without it, or backwards, the loop has no end. */
function isLoopStep(node: Node, path: readonly Node[]): boolean {
  const parent = path.at(-1)
  return parent?.nodeType === 'ForStatement' && parent.body !== node
}

const dropStatement: Rule = ({ node, path, text, trees }) => {
  if (node.nodeType !== 'ExpressionStatement') return []
  const inner = child(node, 'expression')
  if (inner === null || isLoopStep(node, path)) return []
  if (inner.nodeType === 'FunctionCall') {
    if (isCallOf(inner, 'require') || isCallOf(inner, 'revert')) return []
    return [statement('drop-call', node, '')]
  }
  if (inner.nodeType === 'UnaryOperation') return [statement(dropRule(child(inner, 'subExpression'), trees), node, '')]
  if (inner.nodeType !== 'Assignment') return []
  const left = child(inner, 'leftHandSide')
  if (left === null || pointsToStorage(left)) return []
  return left.nodeType === 'TupleExpression'
    ? dropComponents({ tuple: left, node, text, trees })
    : [statement(dropRule(left, trees), node, '')]
}

function dropComponents({ tuple, node, text, trees }: { tuple: Node; node: Node; text: Site['text']; trees: Trees }): Change[] {
  const { start, end } = rangeOf(node)
  const components = nodes(tuple, 'components')
  const [only] = components
  if (only !== undefined && components.length === 1) return [statement(dropRule(only, trees), node, '')]
  return components.map((component) => {
    const range = rangeOf(component)
    const without = text({ start, end: range.start }) + text({ start: range.end, end })
    return statement(dropRule(component, trees), node, `${without};`)
  })
}

/** A pointer that is never set is no valid code. */
function pointsToStorage(left: Node): boolean {
  return left.nodeType === 'Identifier' && typeOf(left).endsWith('storage pointer')
}

function dropRule(left: Node | null, trees: Trees): string {
  return left !== null && isStored(left, trees) ? 'drop-write' : 'drop-assignment'
}

function isStored(left: Node, trees: Trees): boolean {
  const base = child(left, 'baseExpression') ?? child(left, 'expression')
  if (base !== null) return isStored(base, trees)
  const declared = trees.declaration(left.referencedDeclaration)?.node
  return declared?.stateVariable === true || declared?.storageLocation === 'storage'
}

const movedTime: Rule = ({ node, text }) => {
  if (node.nodeType !== 'MemberAccess' || text(rangeOf(node)) !== 'block.timestamp') return []
  return [expression('move-time', node, 'block.timestamp + 1'), expression('move-time', node, 'block.timestamp - 1')]
}

const movedConstant: Rule = ({ node, path, text, trees }) => {
  if (node.nodeType !== 'Identifier' && node.nodeType !== 'MemberAccess') return []
  const declared = trees.declaration(node.referencedDeclaration)?.node
  if (declared?.constant !== true || !typeOf(node).startsWith('uint') || isInType(path)) return []
  const name = text(rangeOf(node))
  // The largest number of a type has no next one.
  const isLargest = child(declared, 'value')?.memberName === 'max' && typeOf(declared) !== 'uint256'
  return [expression('move-constant', node, `${name} ${isLargest ? '-' : '+'} 1`)]
}

const movedLiteral: Rule = ({ node, path, text }) => {
  if (node.nodeType !== 'Literal' || node.kind !== 'number' || node.subdenomination != null || isInType(path)) return []
  const around = path.at(-1)
  if (around?.nodeType === 'FunctionCall' && around.kind === 'typeConversion') return []
  // A chosen number has a type of its own, and is no longer a literal zero that compares with bytes.
  if (['leftExpression', 'rightExpression'].some((side) => around !== undefined && isBytes(child(around, side)))) return []
  const value = text(rangeOf(node))
  if (!/^[0-9_]+$/.test(value)) return []
  return [expression('move-number', node, String(Number(value.replaceAll('_', '')) + 1))]
}

const flipped: Rule = ({ node, text }) => {
  if (node.nodeType === 'Literal' && node.kind === 'bool') {
    return [expression('flip-bool', node, text(rangeOf(node)) === 'true' ? 'false' : 'true')]
  }
  if (node.nodeType !== 'UnaryOperation' || node.operator !== '!') return []
  const inner = child(node, 'subExpression')
  return inner === null ? [] : [expression('drop-not', node, text(rangeOf(inner)))]
}

const otherExtreme: Rule = ({ node, text }) => {
  const called = node.nodeType === 'FunctionCall' ? child(node, 'expression') : null
  if (called === null) return []
  const name = text(rangeOf(called))
  const other = { 'Math.min': 'Math.max', 'Math.max': 'Math.min' }[name]
  const rest = text({ start: rangeOf(called).end, end: rangeOf(node).end })
  if (other !== undefined) return [expression('swap-min-max', node, `${other}${rest}`)]
  const args = nodes(node, 'arguments').map((argument) => `(${text(rangeOf(argument))})`)
  return name === 'Math.ceilDiv' ? [expression('round-down', node, args.join(' / '))] : []
}

const dropModifier: Rule = ({ node, trees, text }) => {
  if (node.nodeType !== 'ModifierInvocation' || node.kind !== 'modifierInvocation') return []
  const name = child(node, 'modifierName')
  const declared = trees.declaration(name?.referencedDeclaration)
  return declared === null
    ? []
    : [{ ...rangeOf(node), rule: 'drop-modifier', kind: 'modifier', replacement: text(rangeOf(node)) }]
}

const RULES: readonly Rule[] = [
  dropCheck,
  decide,
  dropOperand,
  compare,
  calculate,
  assignOtherwise,
  dropStatement,
  movedTime,
  movedConstant,
  movedLiteral,
  flipped,
  otherExtreme,
  dropModifier,
]

function binary(node: Node, operators: readonly string[]): { operator: string; left: Node; right: Node } | null {
  const operator = String(node.operator ?? '')
  const [left, right] = [child(node, 'leftExpression'), child(node, 'rightExpression')]
  if (node.nodeType !== 'BinaryOperation' || !operators.includes(operator) || left === null || right === null) return null
  return { operator, left, right }
}

export function isCallOf(node: Node, name: string): boolean {
  return child(node, 'expression')?.name === name
}

function isBytes(node: Node | null): boolean {
  return node !== null && typeOf(node).startsWith('bytes')
}

function isInType(path: readonly Node[]): boolean {
  return path.some(({ nodeType }) => nodeType === 'ArrayTypeName' || nodeType === 'ElementaryTypeNameExpression')
}

function expression(rule: string, node: Node, replacement: string): Change {
  return { ...rangeOf(node), rule, kind: 'expression', replacement }
}

function statement(rule: string, node: Node, replacement: string): Change {
  return { ...rangeOf(node), rule, kind: 'statement', replacement }
}
