import { type ChildProcess, spawn } from 'node:child_process'
import { appendFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { acquireLock, startTicks } from '../../scripts/local/lock.mjs'

const root = join(import.meta.dirname, '../..')

/** A project with one package and one contract, whose build only writes down that it ran. */
let project = ''
let children: ChildProcess[] = []

beforeEach(() => {
  project = mkdtempSync(join(tmpdir(), 'granary bootstrap '))
  for (const folder of ['scripts/local', 'contracts', 'services/core/generated', 'pantry'])
    mkdirSync(join(project, folder), { recursive: true })
  for (const file of ['bootstrap.mjs', 'local/lock.mjs', 'local/sources.mjs']) {
    cpSync(join(root, 'scripts', file), join(project, 'scripts', file))
  }
  const pantry = { name: 'pantry', version: '1.0.0' }
  const manifest = { name: 'project', version: '1.0.0', type: 'module', dependencies: { pantry: 'file:pantry' } }
  const packages = { '': manifest, pantry, 'node_modules/pantry': { resolved: 'pantry', link: true } }
  write('pantry/package.json', JSON.stringify(pantry))
  write('package.json', JSON.stringify(manifest))
  write('package-lock.json', JSON.stringify({ name: 'project', version: '1.0.0', lockfileVersion: 3, requires: true, packages }))
  write('contracts/Seed.sol', 'contract Seed {}')
  write(
    'scripts/build.ts',
    `import { appendFileSync, writeFileSync } from 'node:fs'
import { digestOfSources } from './local/sources.mjs'
const sources: string = digestOfSources(process.cwd())
appendFileSync('builds.txt', 'built\\n')
writeFileSync('services/core/generated/build.json', JSON.stringify({ sources, outputs: ['builds.txt'] }))
`,
  )
})

afterEach(() => {
  for (const child of children) child.kill('SIGKILL')
  children = []
  rmSync(project, { recursive: true, force: true })
})

describe('bootstrap', () => {
  it('installs and builds a fresh clone, then says and does nothing', async () => {
    const first = await bootstrap()
    expect(first).toMatchObject({ code: 0, stdout: '' })
    expect(first.stderr).toContain('Installing packages')
    expect(existsSync(join(project, 'node_modules/pantry/package.json'))).toBe(true)
    expect(builds()).toBe(1)

    expect(await bootstrap()).toMatchObject({ code: 0, stdout: '', stderr: '' })
    expect(builds()).toBe(1)
  })

  it('builds again when a contract changed, without installing again', async () => {
    await bootstrap()
    appendFileSync(join(project, 'contracts/Seed.sol'), ' // grown')
    const second = await bootstrap()
    expect(second.stderr).not.toContain('Installing')
    expect(builds()).toBe(2)
  })

  it('repairs an install that was interrupted', async () => {
    await bootstrap()
    rmSync(join(project, 'node_modules/.granary-install.json'))
    rmSync(join(project, 'node_modules/.package-lock.json'))
    const second = await bootstrap()
    expect(second.stderr).toContain('incomplete or outdated')
    expect(await bootstrap()).toMatchObject({ code: 0, stderr: '' })
  })

  it('installs again when the lockfile changed', async () => {
    await bootstrap()
    const lock = readFileSync(join(project, 'package-lock.json'), 'utf8')
    write('package-lock.json', lock.replaceAll('"1.0.0"', '"1.0.1"'))
    for (const file of ['package.json', 'pantry/package.json']) {
      write(file, readFileSync(join(project, file), 'utf8').replace('"1.0.0"', '"1.0.1"'))
    }
    expect((await bootstrap()).stderr).toContain('incomplete or outdated')
  })

  it('waits for another one and then finds nothing to do', async () => {
    const both = await Promise.all([bootstrap(), bootstrap()])
    expect(both.map(({ code }) => code)).toEqual([0, 0])
    expect(both.filter(({ stderr }) => stderr.includes('Installing packages'))).toHaveLength(1)
    expect(builds()).toBe(1)
  })
})

describe('a lock', () => {
  it('is refused while its holder lives, naming it and its facts', () => {
    const path = join(project, 'lock')
    const first = acquireLock(path, { gatewayUrl: 'here' })
    expect(acquireLock(path)).toMatchObject({ ok: false, holder: { pid: process.pid, gatewayUrl: 'here' } })
    if (first.ok) first.release()
    expect(acquireLock(path).ok).toBe(true)
  })

  it('is taken over from a process that is gone, and from one whose pid was reused', () => {
    const path = join(project, 'lock')
    write('lock', JSON.stringify({ pid: 2 ** 22 + 1, ticks: '1' }))
    expect(acquireLock(path).ok).toBe(true)
    write('lock', JSON.stringify({ pid: process.pid, ticks: `${startTicks(process.pid)}1` }))
    expect(acquireLock(path).ok).toBe(true)
    write('lock', '')
    expect(acquireLock(path).ok).toBe(true)
  })
})

function bootstrap(): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [join(project, 'scripts/bootstrap.mjs')], { cwd: project, timeout: 50_000 })
  children.push(child)
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString()
  })
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString()
  })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve({ code, stdout, stderr }))
  })
}

function builds(): number {
  return readFileSync(join(project, 'builds.txt'), 'utf8').split('built\n').length - 1
}

function write(path: string, text: string): void {
  writeFileSync(join(project, path), text)
}
