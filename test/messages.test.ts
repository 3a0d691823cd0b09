import { keccak256, solidityPacked, TypedDataEncoder } from 'ethers'
import fc from 'fast-check'
import hre from 'hardhat'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ContractName, digestOf, domainOf, type MessageValue, messages, structHashOf } from '../services/core/messages.ts'

/** TypeScript and Solidity hash every message alike; contracts use the domains that clients sign under. */
type Connection = Awaited<ReturnType<typeof hre.network.create>>

function hex(bytes: number): fc.Arbitrary<string> {
  return fc.uint8Array({ minLength: bytes, maxLength: bytes }).map((value) => `0x${Buffer.from(value).toString('hex')}`)
}

function fieldOf(type: string): fc.Arbitrary<unknown> {
  if (type === 'address') return hex(20)
  if (type === 'bytes32') return hex(32)
  if (type === 'bool') return fc.boolean()
  if (type === 'string') return fc.string({ unit: 'grapheme', maxLength: 80 })
  const bits = /^uint([0-9]+)$/.exec(type)?.[1]
  if (bits === undefined) throw new TypeError(`no values for ${type}`)
  return fc.bigInt({ min: 0n, max: (1n << BigInt(bits)) - 1n })
}

function messageOf(contract: ContractName, name: string): fc.Arbitrary<MessageValue> {
  const fields = (messages[contract] as Record<string, readonly { name: string; type: string }[]>)[name] ?? []
  return fc.record(Object.fromEntries(fields.map((field) => [field.name, fieldOf(field.type)])))
}

/** Solidity groups some fields in structs; a claim's epochs are hashed there, so they are given plain. */
const epochs = [3n, 4n, 9n]
const callArguments: Record<string, (value: MessageValue) => unknown[]> = {
  RegisterDataset: ({ deadline, ...registration }) => [registration, deadline],
  NarrowDataset: ({ datasetId, deadline, ...narrowing }) => [datasetId, narrowing, deadline],
  ClaimRoyalty: ({ payeeId, account, to, maxRelayerFee, nonce, deadline }) => [
    { payeeId, account, epochs, shares: 0n, proof: [] },
    to,
    maxRelayerFee,
    nonce,
    deadline,
  ],
  AnnounceShareTable: ({ poolId, deadline, ...table }) => [poolId, table, deadline],
  JobReceipt: (value) => [value],
  Receipt: (value) => [value],
}

/** No hash function of ours: OpenZeppelin's and the token's own messages, and one that no contract reads (test/core/receipt-signature.test.ts). */
const elsewhere = [
  'CooperativeGovernor.Ballot',
  'Token.ReceiveWithAuthorization',
  'Token.TransferWithAuthorization',
  'InferenceEscrow.Receipts',
]

describe('every message', () => {
  let connection: Connection
  let harness: { getFunction(name: string): { staticCall(...args: unknown[]): Promise<string> } }

  beforeAll(async () => {
    // A no-op once test contracts are compiled.
    await hre.tasks.getTask('build').run({ quiet: true })
    connection = await hre.network.create({ network: 'dev' })
    const { ethers } = connection as unknown as { ethers: { deployContract(name: string): Promise<typeof harness> } }
    harness = await ethers.deployContract('MessagesHarness')
  })

  afterAll(() => connection?.close())

  for (const contract of Object.keys(messages) as ContractName[]) {
    for (const name of Object.keys(messages[contract])) {
      if (elsewhere.includes(`${contract}.${name}`)) continue
      it(`${contract}.${name} has one hash in TypeScript and Solidity`, async () => {
        await fc.assert(
          fc.asyncProperty(messageOf(contract, name), async (drawn) => {
            const value =
              name === 'ClaimRoyalty' ? { ...drawn, epochsHash: keccak256(solidityPacked(['uint64[]'], [epochs])) } : drawn
            const args = callArguments[name]?.(value) ?? Object.values(value)
            const hash = structHashOf(contract, name as never, value)
            expect(await harness.getFunction(name).staticCall(...args)).toBe(hash)
          }),
          { numRuns: 25 },
        )
      })
    }
  }

  it('is bound to chain, contract and every field', () => {
    for (const contract of Object.keys(messages) as ContractName[]) {
      for (const name of Object.keys(messages[contract])) {
        fc.assert(
          fc.property(messageOf(contract, name), messageOf(contract, name), (value, other) => {
            const verifier = { chainId: 1n, address: `0x${'11'.repeat(20)}` }
            const digest = digestOf(contract, name as never, verifier, value)
            expect(digestOf(contract, name as never, { ...verifier, chainId: 2n }, value)).not.toBe(digest)
            expect(digestOf(contract, name as never, { ...verifier, address: `0x${'22'.repeat(20)}` }, value)).not.toBe(digest)
            for (const field of Object.keys(value)) {
              fc.pre(other[field] !== value[field])
              expect(digestOf(contract, name as never, verifier, { ...value, [field]: other[field] })).not.toBe(digest)
            }
          }),
          { numRuns: 10 },
        )
      }
    }
  })

  it('is signed under the domain that its contract checks', async () => {
    const { ethers } = connection as unknown as {
      ethers: {
        deployContract(
          name: string,
          args: unknown[],
        ): Promise<{
          getAddress(): Promise<string>
          eip712Domain(): Promise<{ name: string; version: string; chainId: bigint; verifyingContract: string }>
        }>
      }
    }
    const deployed = { DatasetRegistry: [10], Token: [] } as const
    for (const [contract, args] of Object.entries(deployed)) {
      const instance = await ethers.deployContract(contract === 'Token' ? 'TestDollar' : contract, [...args])
      const { name, version, chainId, verifyingContract } = await instance.eip712Domain()
      const domain = domainOf(contract as ContractName, {
        chainId: 31337n,
        address: await instance.getAddress(),
        ...(contract === 'Token' ? { name: 'Granary Test Dollar' } : {}),
      })
      expect(TypedDataEncoder.hashDomain({ name, version, chainId, verifyingContract })).toBe(TypedDataEncoder.hashDomain(domain))
    }
  })
})
