import { describe, expect, it } from 'vitest'
import { type ActFile, acts } from '../../services/core/acts.ts'
import { readActFile, requireSame } from '../../services/sdk/index.ts'

const ADDRESS = `0x${'a1'.repeat(20)}`
const withdrawal = { contract: 'DatasetRegistry', method: 'withdrawBySig', args: ['0x01', ADDRESS, '0x02'] }
const file: ActFile = { granary: 'acts/1', chainId: '31337', contracts: { DatasetRegistry: ADDRESS }, acts: [withdrawal] }
const read = (changes: object) => () => readActFile(JSON.stringify({ ...file, ...changes }))

describe('a file of signed acts', () => {
  it('is read as it was written', () => {
    expect(readActFile(JSON.stringify(file))).toEqual(file)
  })

  it('may hold every act that others can send', () => {
    for (const [contract, methods] of Object.entries(acts)) {
      for (const method of Object.keys(methods)) {
        const changes = { contracts: { [contract]: ADDRESS }, acts: [{ contract, method, args: [] }] }
        expect(read(changes)).not.toThrow()
      }
    }
  })

  it('may hold nothing else: its reader pays, and must not act for themselves', () => {
    const wrong = [
      ['Token', 'transfer'],
      ['Token', 'approve'],
      ['DatasetRegistry', 'withdraw'],
      ['InferenceEscrow', 'startThaw'],
      ['Membership', 'leave'],
      ['CooperativeGovernor', 'propose'],
      ['constructor', 'name'],
      ['DatasetRegistry', '__proto__'],
      ['DatasetRegistry', 'hasOwnProperty'],
    ] as const
    for (const [contract, method] of wrong) {
      const changes = {
        contracts: { ...file.contracts, [contract]: ADDRESS },
        acts: [withdrawal, { contract, method, args: [] }],
      }
      expect(read(changes)).toThrow('no act that others may send')
    }
  })

  it('is refused when it is none, too long, or silent about where a contract is', () => {
    expect(() => readActFile('{')).toThrow('no JSON')
    expect(read({ granary: 'acts/2' })).toThrow('/granary')
    expect(read({ chainId: 31337 })).toThrow('/chainId')
    expect(read({ acts: [] })).toThrow('/acts')
    expect(read({ acts: Array.from({ length: 65 }, () => withdrawal) })).toThrow('/acts')
    expect(read({ contracts: {} })).toThrow('does not say where DatasetRegistry is')
    expect(read({ contracts: { DatasetRegistry: 'here' } })).toThrow('/contracts')
  })

  it('is refused for another chain, or other contracts', () => {
    const here = {
      chainId: '31337',
      contracts: { DatasetRegistry: ADDRESS.toUpperCase().replace('0X', '0x'), Membership: ADDRESS },
    }
    expect(() => requireSame(file, here)).not.toThrow()
    expect(() => requireSame({ ...file, chainId: '1' }, here)).toThrow('another cooperative')
    expect(() => requireSame({ ...file, contracts: { DatasetRegistry: `0x${'a2'.repeat(20)}` } }, here)).toThrow(
      'another cooperative',
    )
    expect(() => requireSame({ ...file, contracts: { RoyaltyLedger: ADDRESS } }, here)).toThrow('another cooperative')
  })
})
