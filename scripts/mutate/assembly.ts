import { child, type Node, nodes, rangeOf, walk } from './ast.ts'
import type { Change, Site } from './rules.ts'

const SWAPPED: Record<string, string> = {
  add: 'sub',
  sub: 'add',
  lt: 'gt',
  gt: 'lt',
  shl: 'shr',
  shr: 'shl',
  and: 'or',
  or: 'and',
  mul: 'div',
  div: 'mul',
}

/**
 * Changes inside assembly: swapped operations, moved numbers, dropped writes. Each replaces the whole block, because
 * nothing can be called from inside it to ask which mutant runs.
 */
export function assemblyChanges({ node, text }: Site): Change[] {
  const tree = node.nodeType === 'InlineAssembly' ? child(node, 'AST') : null
  if (tree === null) return []
  const block = rangeOf(node)
  const found: Change[] = []
  const change = (rule: string, part: { start: number; end: number }, replacement: string) => {
    const changed = text({ start: block.start, end: part.start }) + replacement + text({ start: part.end, end: block.end })
    found.push({ ...block, rule, kind: 'statement', replacement: changed })
  }
  walk(tree, (inner, path) => {
    const range = rangeOf(inner)
    if (inner.nodeType === 'YulFunctionCall') {
      const name = child(inner, 'functionName')
      const other = name === null ? undefined : SWAPPED[String(name.name)]
      if (name !== null && other !== undefined) change('assembly-swap', rangeOf(name), other)
      if (name?.name === 'iszero') change('assembly-negate', range, argumentOf(inner, text))
      if (name?.name === 'mstore' && path.at(-1)?.nodeType === 'YulExpressionStatement') change('assembly-drop-write', range, '')
    }
    if (inner.nodeType === 'YulLiteral' && inner.kind === 'number') change('assembly-move-number', range, next(text(range)))
  })
  return found
}

function argumentOf(call: Node, text: Site['text']): string {
  const [argument] = nodes(call, 'arguments')
  return argument === undefined ? '1' : text(rangeOf(argument))
}

function next(literal: string): string {
  const value = BigInt(literal) + 1n
  return literal.startsWith('0x') ? `0x${value.toString(16)}` : value.toString()
}
