import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { readParameters, requirePeople } from '../../scripts/deploy/preflight.ts'

const parametersOf = (chainId: number) => path.resolve(import.meta.dirname, `../../ignition/parameters/${chainId}.json`)
const folder = mkdtempSync(path.join(tmpdir(), 'granary-preflight-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function changed(chainId: number, change: Record<string, number>): string {
  const { Cooperative } = JSON.parse(readFileSync(parametersOf(chainId), 'utf8'))
  const file = path.join(folder, 'parameters.json')
  writeFileSync(file, JSON.stringify({ Cooperative: { ...Cooperative, ...change } }))
  return file
}

describe('the preflight of a chain with real money', () => {
  it.each([1, 8453, 31_337])('takes the parameters that are kept for chain %i', (chainId) => {
    expect(readParameters({ file: parametersOf(chainId), chainId })).toMatchObject({ chainId })
  })

  it.each([
    'votingDelaySeconds',
    'votingPeriodSeconds',
    'timelockSeconds',
    'probationSeconds',
    'rotationSeconds',
    'unstakeSeconds',
    'growthWindowSeconds',
    'epochSeconds',
    'maxSettlementSeconds',
  ])('refuses %s below a day, which development chains may have', (name) => {
    const almost = { [name]: 86_399, lateQuorumSeconds: 0 }
    expect(() => readParameters({ file: changed(8453, almost), chainId: 8453 })).toThrow(new RegExp(`${name} is 86399`))
    expect(readParameters({ file: changed(31_337, almost), chainId: 31_337 })).toMatchObject(almost)
  })
})

describe('the preflight of a timelock', () => {
  it('refuses one that a settlement window outlasts, so that a raised fee reaches no job that was served before its announcement', () => {
    const day = 86_400
    const of = (timelockSeconds: number) => changed(8453, { timelockSeconds, maxSettlementSeconds: 3 * day })
    expect(() => readParameters({ file: of(3 * day - 1), chainId: 8453 })).toThrow(/timelockSeconds must be at least/)
    expect(readParameters({ file: of(3 * day), chainId: 8453 })).toMatchObject({ timelockSeconds: 3 * day })
  })
})

describe('the preflight of who founds a cooperative', () => {
  const account = (byte: string) => `0x${byte.repeat(20)}`
  const people = { genesis: ['01', '02', '03'].map(account), registrar: account('04'), guardian: account('05') }

  it('takes founders of whom the deployer is none', () => {
    expect(requirePeople({ ...people, deployer: account('06') })).toEqual(people)
    expect(requirePeople({ ...people, guardian: undefined, deployer: account('05') }).guardian).toBe(account('00'))
  })

  it.each(['02', '04', '05'])('refuses a deployer who would keep power as %s', (byte) => {
    expect(() => requirePeople({ ...people, deployer: account(byte) })).toThrow(/deployer is listed/)
  })
})
