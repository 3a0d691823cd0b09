// Plain JavaScript, shared by bootstrap.mjs (any Node) and build.ts: what is generated, and from what.
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const SOURCES = [
  'contracts',
  'hardhat.config.ts',
  'prisma.config.ts',
  'prisma/schema.prisma',
  'scripts/build.ts',
  'package-lock.json',
]

/** Where build.ts records what it built, last of all. */
export const BUILD_MARKER = 'services/core/generated/build.json'

/**
 * @param {string} root
 * @returns {string} one hash over names and bytes of all sources
 */
export function digestOfSources(root) {
  const hash = createHash('sha256')
  for (const file of SOURCES.flatMap((source) => filesUnder(root, source))) {
    const bytes = readFileSync(join(root, file))
    hash.update(`${file}\0${bytes.length}\0`).update(bytes)
  }
  return hash.digest('hex')
}

/**
 * @param {string} root
 * @returns {boolean} whether everything generated is there and stems from the present sources
 */
export function isBuilt(root) {
  try {
    const { sources, outputs } = JSON.parse(readFileSync(join(root, BUILD_MARKER), 'utf8'))
    return outputs.every((output) => existsSync(join(root, output))) && sources === digestOfSources(root)
  } catch {
    return false
  }
}

function filesUnder(root, path) {
  if (!existsSync(join(root, path))) return []
  if (/\.\w+$/.test(path)) return [path]
  return readdirSync(join(root, path), { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => (entry.isDirectory() || /\.\w+$/.test(entry.name) ? filesUnder(root, `${path}/${entry.name}`) : []))
}
