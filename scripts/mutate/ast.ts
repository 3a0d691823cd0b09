import { type Compiled, refuse, runSolc, type Sources } from './sources.ts'

/** A node of solc's syntax tree; which fields it has depends on its type. */
export interface Node {
  id: number
  nodeType: string
  src: string
  [field: string]: unknown
}

export interface Range {
  start: number
  end: number
}

/** The trees of all sources, and where anything is declared. */
export interface Trees {
  of(source: string): Node
  has(source: string): boolean
  declaration(id: unknown): { node: Node; source: string } | null
}

export function parse(sources: Sources): Trees {
  // Of the libraries only those that declare modifiers: the trees of all of them take solc as long again.
  const wanted = [...sources].filter(([name, text]) => name.startsWith('contracts/') || /^\s+modifier /m.test(text))
  const compiled = runSolc(sources, Object.fromEntries(wanted.map(([name]) => [name, { '': ['ast'] }])))
  requireCompiled(compiled)
  const trees = new Map(
    Object.entries(compiled.sources ?? {}).flatMap(([name, { ast }]) => (isNode(ast) ? [[name, ast] as const] : [])),
  )
  const declarations = new Map<number, { node: Node; source: string }>()
  for (const [source, tree] of trees) {
    walk(tree, (node) => {
      if (DECLARATIONS.has(node.nodeType)) declarations.set(node.id, { node, source })
    })
  }
  return {
    of(source) {
      const tree = trees.get(source)
      if (tree === undefined) throw refuse(`solc gave no syntax tree of ${source}.`)
      return tree
    },
    has: (source) => trees.has(source),
    declaration: (id) => (typeof id === 'number' ? (declarations.get(id) ?? null) : null),
  }
}

const DECLARATIONS = new Set([
  'VariableDeclaration',
  'ModifierDefinition',
  'FunctionDefinition',
  'ErrorDefinition',
  'EventDefinition',
])

export function requireCompiled(compiled: Compiled): void {
  const errors = (compiled.errors ?? []).filter(({ severity }) => severity === 'error')
  if (errors.length > 0) throw refuse(`Does not compile:\n${errors.map(({ formattedMessage }) => formattedMessage).join('\n')}`)
}

/** Parents first. A visitor that answers false keeps the walk out of the node. */
export function walk(node: Node, visit: (node: Node, path: readonly Node[]) => unknown, path: readonly Node[] = []): void {
  if (visit(node, path) === false) return
  const below = [...path, node]
  for (const child of childrenOf(node)) walk(child, visit, below)
}

export function childrenOf(node: Node): Node[] {
  return Object.values(node).flatMap((value) => (Array.isArray(value) ? value : [value]).filter(isNode))
}

/** Nodes of assembly have no id. */
export function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && 'nodeType' in value && 'src' in value
}

export function child(node: Node, field: string): Node | null {
  const value = node[field]
  return isNode(value) ? value : null
}

export function nodes(node: Node, field: string): Node[] {
  const value = node[field]
  return Array.isArray(value) ? value.filter(isNode) : []
}

export function rangeOf(node: Node): Range {
  const [start = 0, length = 0] = node.src.split(':').map(Number)
  return { start, end: start + length }
}

/** The type's name as solc writes it, such as `uint256` or `struct Account storage pointer`. */
export function typeOf(node: Node): string {
  const described = node.typeDescriptions
  if (typeof described !== 'object' || described === null || !('typeString' in described)) return ''
  return String(described.typeString)
}
