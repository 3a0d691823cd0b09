import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'

const root = join(import.meta.dirname, '../..')
const compose = (args: string[]) =>
  spawnSync('docker-compose', args, { cwd: root, encoding: 'utf8', timeout: 60_000, env: { PATH: process.env.PATH } })
const installed = compose(['version']).status === 0

describe('docker-compose.yml', () => {
  it('names no registry host', () => {
    const images = [...readFileSync(join(root, 'docker-compose.yml'), 'utf8').matchAll(/^\s*image: (\S+)/gm)].map(
      (match) => match[1],
    )
    expect(images.length).toBeGreaterThan(2)
    for (const image of images) expect(image).not.toMatch(/^[^/]*[.:][^/]*\//)
  })

  it.skipIf(!installed)('is valid (skipped where docker-compose is not installed)', () => {
    const checked = compose(['config', '-q'])
    expect(checked.stderr).toBe('')
    expect(checked.status).toBe(0)
  })

  it.skipIf(!installed)(
    'has every process of npm start as a service of its own (skipped where docker-compose is not installed)',
    () => {
      const services = compose(['config', '--services']).stdout.trim().split('\n')
      expect(services).toEqual(expect.arrayContaining(['postgres', 'kubo', 'chain', 'gateway', 'indexer', 'settler', 'worker']))
    },
  )
})
