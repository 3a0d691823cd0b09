import { globSync, readFileSync } from 'node:fs'
import { dirname, relative, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'

/**
 * Who may import whom: adapters, sdk and processes import core; cli and web import sdk; nothing imports a process; adapters
 * do not import each other across folders.
 */
const root = resolve(import.meta.dirname, '..')
const processes = ['gateway', 'provider', 'indexer', 'settler', 'cli', 'web']

interface Import {
  from: string
  to: string
  /** Gone at run time. */
  typeOnly: boolean
}

function importsOf(file: string): Import[] {
  const source = readFileSync(file, 'utf8')
  const from = relative(root, file)
  return [...source.matchAll(/^(?:import|export) (type )?[^'\n]*(?:\n[^'\n]*)*? from '([^']+)'|import\('([^']+)'\)/gm)].map(
    ([, type, static_, dynamic]) => {
      const specifier = static_ ?? dynamic ?? ''
      const to = specifier.startsWith('.') ? relative(root, resolve(dirname(file), specifier)) : specifier
      return { from, to, typeOnly: type !== undefined }
    },
  )
}

const files = globSync('services/**/*.ts', { cwd: root }).map((file) => resolve(root, file))
const imports = files.flatMap(importsOf)

function areaOf(path: string): string {
  return path.split('/')[1] ?? ''
}

describe('import directions', () => {
  it('reads the imports of every part', () => {
    expect(new Set(files.map((file) => areaOf(relative(root, file))))).toEqual(
      new Set(['core', 'adapters', 'gateway', 'provider', 'indexer', 'settler', 'sdk', 'cli']),
    )
    expect(imports.length).toBeGreaterThan(300)
  })

  it('keeps the rules free of I/O: core imports only core and pure packages', () => {
    const pure = /^(ethers|typebox(\/.*)?|canonicalize|multiformats(\/.*)?|@noble\/.*|@openzeppelin\/merkle-tree)$/
    const wrong = imports.filter(({ from, to }) => areaOf(from) === 'core' && !to.startsWith('services/core/') && !pure.test(to))
    expect(wrong).toEqual([])
  })

  it('lets core read neither clock, nor randomness, nor the environment', () => {
    const wrong = files
      .filter((file) => areaOf(relative(root, file)) === 'core')
      .filter((file) =>
        /Date\.now|new Date\(|Math\.random|process\.|performance\.now|getRandomValues|randomBytes/.test(
          readFileSync(file, 'utf8'),
        ),
      )
    expect(wrong.map((file) => relative(root, file))).toEqual([])
  })

  it('lets sdk import only core, and cli only sdk', () => {
    const sdk = imports.filter(
      ({ from, to }) => areaOf(from) === 'sdk' && to.startsWith('services/') && !/^services\/(sdk|core)\//.test(to),
    )
    const cli = imports.filter(
      ({ from, to }) => areaOf(from) === 'cli' && to.startsWith('services/') && !/^services\/(cli|sdk)\//.test(to),
    )
    expect([...sdk, ...cli]).toEqual([])
  })

  it('lets nothing import a process', () => {
    const wrong = imports.filter(
      ({ from, to }) => processes.includes(areaOf(to)) && to.startsWith('services/') && areaOf(from) !== areaOf(to),
    )
    expect(wrong).toEqual([])
  })

  it('lets adapters import core and their own folder only', () => {
    const folderOf = (path: string) => path.split('/').slice(0, 3).join('/')
    const wrong = imports.filter(({ from, to }) => {
      if (areaOf(from) !== 'adapters' || !to.startsWith('services/')) return false
      const shared = /^services\/adapters\/[^/]+\.ts$/.test(to)
      return !to.startsWith('services/core/') && !shared && folderOf(from) !== folderOf(to)
    })
    expect(wrong).toEqual([])
  })

  it('builds adapters in main.ts only', () => {
    const wrong = imports.filter(
      ({ from, to, typeOnly }) =>
        processes.includes(areaOf(from)) && !typeOnly && !from.endsWith('/main.ts') && /^services\/adapters\/[^/]+\//.test(to),
    )
    expect(wrong).toEqual([])
  })

  it("lets only the archive's thread hash a batch's thousands of receipts, which would hold up every request of a gateway", () => {
    const long = /^services\/(core\/(merkle|settlement)|gateway\/archive\/(batch-bytes|main))\.ts$/
    const wrong = imports.filter(
      ({ from, to, typeOnly }) =>
        areaOf(from) === 'gateway' &&
        !/^services\/gateway\/archive\/(batch-bytes|main)\.ts$/.test(from) &&
        !typeOnly &&
        long.test(to),
    )
    expect(wrong).toEqual([])
    expect(imports.some(({ to }) => to === 'services/gateway/archive/batch-bytes.ts')).toBe(true)
  })

  it('reads process.env in config.ts files only', () => {
    const wrong = files.filter(
      (file) => /process\.env/.test(readFileSync(file, 'utf8')) && !/(config|adapters\/settings)\.ts$/.test(file),
    )
    expect(wrong.map((file) => relative(root, file))).toEqual([])
  })
})
