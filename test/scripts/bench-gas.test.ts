import { beforeAll, describe, expect, it } from 'vitest'
import type { Figure } from '../../scripts/bench/gas/figures.ts'
import { benchGas, documentOf, readSnapshot, snapshotOf } from '../../scripts/bench/gas.ts'

let figures: Figure[] = []

beforeAll(async () => {
  figures = await benchGas()
})

describe('npm run bench:gas', () => {
  it('prints a document of the form that scripts rely on', () => {
    const document = JSON.parse(JSON.stringify(documentOf(figures))) as Record<string, unknown>
    expect(Object.keys(document)).toEqual(['bench', 'machine', 'method', 'figures'])
    expect(document).toMatchObject({ bench: 'gas', machine: expect.stringMatching(/Node 2\d/), method: expect.any(String) })
    for (const figure of document.figures as Figure[]) {
      expect(Object.keys(figure)).toEqual(['key', 'value', 'unit', 'reference', 'bar', 'holds'])
      expect(figure.value).toBeGreaterThanOrEqual(0)
      expect(figure.holds).toBe(figure.bar === null ? null : figure.value <= figure.bar)
    }
    expect(new Set(figures.map(({ key }) => key)).size).toBe(figures.length)
  })

  it('costs what docs/gas-snapshot.json says: a change is seen, and `npm run bench:gas -- --write` accepts it', () => {
    expect(snapshotOf(figures)).toEqual(readSnapshot())
  })

  it('meets every bar', () => {
    expect(figures.filter(({ holds }) => holds === false).map(({ key }) => key)).toEqual([])
  })
})
