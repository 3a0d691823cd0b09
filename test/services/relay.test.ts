import { secp256k1 } from '@noble/curves/secp256k1.js'
import { getBytes, hexlify, TypedDataEncoder, Wallet, ZeroAddress } from 'ethers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openEthersChain } from '../../services/adapters/chain/ethers-chain.ts'
import { acts, kindOfAct } from '../../services/core/acts.ts'
import type { Call, TransactionOutcome } from '../../services/core/chain-records.ts'
import { termsArgument, termsHashOf } from '../../services/core/consent.ts'
import { GranaryError } from '../../services/core/errors.ts'
import { abi } from '../../services/core/generated/abi.ts'
import { type ContractName, type MessageName, type MessageValue, typedData } from '../../services/core/messages.ts'
import type { Chain } from '../../services/core/ports.ts'
import { openApp } from '../../services/gateway/app.ts'
import { openRelay, type Relay } from '../../services/gateway/relay.ts'
import { people } from '../../services/gateway/relayed-act.ts'
import { relayRoutes } from '../../services/gateway/routes/relay.ts'
import { type DevChain, devChainMissing, openDevChain } from '../adapters/support/dev-chain.ts'
import { named, randomId, silent, terms } from './support/marketplace.ts'

const missing = devChainMissing()
const FAR = 4_000_000_000
const PLENTY = { acts: 1000, gas: 1_000_000_000 }
const NOTHING = { acts: 0, gas: 0 }

describe('the table of acts', () => {
  const functions = Object.entries(abi as unknown as Record<string, { type: string; name: string }[]>).flatMap(
    ([contract, entries]) => entries.filter(({ type }) => type === 'function').map(({ name }) => ({ contract, method: name })),
  )
  // Votes are not delegable: the contract refuses it always.
  const refused = ['delegateBySig']

  it('has every act by signature that the contracts know', () => {
    const signed = functions.filter(
      ({ contract, method }) => contract !== 'Token' && /(BySig|WithAuthorization)$/.test(method) && !refused.includes(method),
    )
    expect(signed.length).toBeGreaterThan(20)
    expect(signed.filter((act) => kindOfAct(act) === null)).toEqual([])
  })

  it('says of every act but errands whose it is', () => {
    const persons = Object.entries(acts).flatMap(([contract, methods]) =>
      Object.entries(methods).flatMap(([method, kind]) => (kind === 'errand' ? [] : [`${contract}.${method}`])),
    )
    expect(Object.keys(people).sort()).toEqual(persons.sort())
  })
})

describe.skipIf(missing !== null)(`the relay${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let node: DevChain
  let chain: Chain
  let members: Wallet[]
  let nowMs = 0

  beforeAll(async () => {
    node = await openDevChain()
    const [registrar, relayer] = node.wallets
    if (!registrar || !relayer) throw new Error('too few accounts')
    chain = await openEthersChain({ rpcUrl: node.rpcUrl, deployment: node.deployment, key: relayer })
    members = node.wallets
    await open({}).submit({ contract: 'DatasetRegistry', method: 'storeTerms', args: [termsArgument(terms)] })
  }, 60_000)
  afterAll(async () => {
    await chain?.[Symbol.asyncDispose]()
    await node?.[Symbol.asyncDispose]()
  })

  const open = ({ person = PLENTY, shared = PLENTY, perMinute = 100_000 }): Relay =>
    openRelay({ chain, settings: { perMinute, person, shared }, clockMs: () => nowMs, log: silent })
  const member = (index: number): Wallet => members[index] ?? stranger()
  const stranger = (): Wallet => new Wallet(Wallet.createRandom().privateKey)
  const sent = async () => BigInt(String(await node.rpc('eth_getTransactionCount', chain.sender, 'latest')))

  const registry = (contract = 'DatasetRegistry') => ({ chainId: 31337n, address: chain.addresses[contract] ?? '' })

  function sign<C extends ContractName>(who: Wallet, contract: C, message: MessageName<C>, value: MessageValue): Promise<string> {
    const verifier = registry(contract)
    const { domain, types } = typedData(contract, message, verifier, value)
    return who.signTypedData(domain, types, value)
  }

  async function registering(owner: Wallet, isPool = false): Promise<Call> {
    const registration = {
      ...{ owner: owner.address, commitment: randomId(), termsHash: termsHashOf(terms), salt: randomId() },
      ...{ isPool, recovery: ZeroAddress },
    }
    const signature = await sign(owner, 'DatasetRegistry', 'RegisterDataset', { ...registration, deadline: FAR })
    return { contract: 'DatasetRegistry', method: 'registerBySig', args: [registration, FAR, signature] }
  }
  const idIn = (outcome: TransactionOutcome) => String(named(outcome.events, 'DatasetRegistered').args.datasetId)
  const registered = async (owner: Wallet, isPool = false) => idIn(await open({}).submit(await registering(owner, isPool)))

  async function withdrawing(owner: Wallet, datasetId: string): Promise<Call> {
    const signature = await sign(owner, 'DatasetRegistry', 'WithdrawDataset', { datasetId })
    return { contract: 'DatasetRegistry', method: 'withdrawBySig', args: [datasetId, owner.address, signature] }
  }
  async function narrowing(
    owner: Wallet,
    datasetId: string,
    change: { endsAt?: number; removePurposes?: number },
  ): Promise<Call> {
    const value = { removePurposes: 0, removeJurisdictions: 0n, endsAt: 0, ...change }
    const signature = await sign(owner, 'DatasetRegistry', 'NarrowDataset', { datasetId, ...value, deadline: FAR })
    return { contract: 'DatasetRegistry', method: 'narrowBySig', args: [datasetId, value, FAR, signature] }
  }
  async function leavingPool(account: Wallet, poolId: string): Promise<Call> {
    const signature = await sign(account, 'DatasetRegistry', 'WithdrawFromPool', { poolId, account: account.address })
    return { contract: 'DatasetRegistry', method: 'withdrawFromPoolBySig', args: [poolId, account.address, signature] }
  }
  async function refusalOf(work: Promise<unknown>): Promise<GranaryError> {
    const error = await work.then(
      () => null,
      (thrown: unknown) => thrown,
    )
    if (!(error instanceof GranaryError)) throw new Error(`not refused: ${error}`)
    return error
  }

  it("draws a member's acts from that member's budget alone, and says when there is room again", async () => {
    const relay = open({ person: { acts: 2, gas: 1_000_000 } })
    const [ada, ben] = [member(2), member(3)]
    for (let act = 0; act < 2; act++) await relay.submit(await registering(ada))
    const refusal = await refusalOf(relay.submit(await registering(ada)))
    expect(refusal).toMatchObject({ code: 'relay.budget', status: 429 })
    expect(refusal.evidence).toEqual({ act: 'DatasetRegistry.registerBySig', budget: 'person', retryAfterSeconds: 43_200 })

    await relay.submit(await registering(ben))
    nowMs += 43_200_000
    await relay.submit(await registering(ada))
  })

  it('counts the gas that acts really used', async () => {
    const gas = Number((await open({}).submit(await registering(member(2)))).gasUsed)
    const relay = open({ person: { acts: 1000, gas: 3 * gas + 1000 } })
    for (let act = 0; act < 3; act++) await relay.submit(await registering(member(2)))
    expect((await refusalOf(relay.submit(await registering(member(2))))).evidence).toMatchObject({ budget: 'person' })
  })

  it('lets exactly as many of acts at once through as the budget has', async () => {
    const relay = open({ person: { acts: 5, gas: 100_000_000 } })
    const calls = await Promise.all(Array.from({ length: 20 }, () => registering(member(2))))
    const results = await Promise.allSettled(calls.map((call) => relay.submit(call)))
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(5)
    for (const result of results) {
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'relay.budget' })
    }
  })

  it('has one bounded budget for all who are no members, and leaves members theirs', async () => {
    const relay = open({ shared: { acts: 3, gas: 1_000_000_000 } })
    for (let newcomer = 0; newcomer < 3; newcomer++) await relay.submit(await registering(stranger()))
    expect((await refusalOf(relay.submit(await registering(stranger())))).evidence).toMatchObject({ budget: 'newcomers' })
    await relay.submit(await registering(member(2)))
  })

  it('admits newcomers when all budgets are spent: growth is bounded by the contract', async () => {
    const relay = open({ person: NOTHING, shared: NOTHING, perMinute: 0 })
    const applicant = stranger()
    const application = { account: applicant.address, nullifier: randomId(), deadline: FAR }
    const [registrar, ...vouching] = members
    if (!registrar) throw new TypeError('no registrar')
    const vouches = await Promise.all(
      vouching.map(async (who) => ({ voucher: who.address, signature: await sign(who, 'Membership', 'Vouch', application) })),
    )
    const args = [
      application,
      await sign(applicant, 'Membership', 'Application', application),
      await sign(registrar, 'Membership', 'Admission', application),
      vouches,
    ]
    const outcome = await relay.submit({ contract: 'Membership', method: 'join', args })
    expect(named(outcome.events, 'Joined').args.account).toBe(applicant.address.toLowerCase())
    expect((await refusalOf(relay.submit(await registering(applicant)))).code).toBe('relay.budget')
  })

  describe('what takes something away', () => {
    const broke = () => open({ person: NOTHING, shared: NOTHING, perMinute: 0 })

    it('is never refused for a budget: withdrawing, narrowing, leaving a pool, leaving', async () => {
      const relay = broke()
      const owner = stranger()
      const datasetId = await registered(owner)
      await relay.submit(await narrowing(owner, datasetId, { removePurposes: 1 }))
      await relay.submit(await withdrawing(owner, datasetId))
      const poolId = await registered(owner, true)
      await relay.submit(await leavingPool(member(3), poolId))
      const memberId = await chain.read({ contract: 'Membership', method: 'memberIdOf', args: [member(3).address] })
      const signature = await sign(member(3), 'Membership', 'Leave', { memberId })
      await relay.submit({ contract: 'Membership', method: 'leaveBySig', args: [member(3).address, signature] })
      const dataset = await chain.read({ contract: 'DatasetRegistry', method: 'dataset', args: [datasetId] })
      expect(dataset).toMatchObject({ withdrawn: true, purposes: 2n })
      expect(await chain.read({ contract: 'Membership', method: 'member', args: [memberId] })).toMatchObject({ left: true })
    })

    it('is paid for once, however often, at once, in other letters or under another signature it comes', async () => {
      const relay = broke()
      const owner = stranger()
      const datasetId = await registered(owner)
      const before = await sent()
      const call = await withdrawing(owner, datasetId)
      const [, , signature] = call.args as string[]
      const { domain, types, value } = typedData('DatasetRegistry', 'WithdrawDataset', registry(), { datasetId })
      const another = signedAgain(TypedDataEncoder.hash(domain, types, value), owner)
      expect(another).not.toBe(signature)
      const variants = [0, 1, 2].flatMap((letters) => {
        const written = `0x${datasetId.slice(2, 2 + letters * 20).toUpperCase()}${datasetId.slice(2 + letters * 20)}`
        return [call, { ...call, args: [written, owner.address.toLowerCase(), letters === 1 ? another : signature] }]
      })
      const outcomes = await Promise.all(variants.map((variant) => relay.submit(variant)))
      outcomes.push(await relay.submit(call))
      expect(new Set(outcomes.map(({ hash }) => hash)).size).toBe(1)
      expect(await sent()).toBe(before + 1n)
    })

    it('is paid from a budget when the chain has it already by another way', async () => {
      const owner = stranger()
      const datasetId = await registered(owner)
      await open({}).submit(await withdrawing(owner, datasetId))
      expect((await refusalOf(broke().submit(await withdrawing(owner, datasetId)))).code).toBe('relay.budget')
    })

    it('can’t be cut into slices without end: narrowing second by second comes to a budget', async () => {
      const relay = broke()
      const owner = stranger()
      const datasetId = await registered(owner)
      let free = 0
      for (let second = 0; second < 60; second++) {
        const slice = relay.submit(await narrowing(owner, datasetId, { endsAt: 3_999_999_000 - second }))
        const refused = await slice.then(
          () => null,
          (error: GranaryError) => error.code,
        )
        if (refused === null) free += 1
        else expect(refused).toBe('relay.budget')
      }
      expect(free).toBe(48)
      await relay.submit(await withdrawing(owner, datasetId))
    }, 60_000)

    it('has a bounded budget of its own where anyone could invent it: exits from a pool by people who are no members', async () => {
      const poolId = await registered(member(2), true)
      const relay = open({ person: NOTHING, shared: { acts: 2, gas: 10_000_000 } })
      for (let newcomer = 0; newcomer < 2; newcomer++) await relay.submit(await leavingPool(stranger(), poolId))
      expect((await refusalOf(relay.submit(await leavingPool(stranger(), poolId)))).evidence).toMatchObject({ budget: 'exits' })
      await relay.submit(await leavingPool(member(2), poolId))
    })

    it('has to have been given: keys that nobody holds are revoked within the budget', async () => {
      const payer = stranger()
      const collector = member(0).address
      const account = { payer: payer.address, collector, thawSeconds: 7200, salt: randomId() }
      const accountId = await chain.read({ contract: 'InferenceEscrow', method: 'accountIdOf', args: [account] })
      const key = stranger().address
      const revoking = async (): Promise<Call> => {
        const signature = await sign(payer, 'InferenceEscrow', 'RevokeKey', { accountId, key })
        return { contract: 'InferenceEscrow', method: 'revokeKeyBySig', args: [account, key, signature] }
      }
      expect((await refusalOf(broke().submit(await revoking()))).code).toBe('relay.budget')
      const grant = { accountId, key, cap: 1000n, notAfter: FAR, nonce: 1 }
      const signature = await sign(payer, 'InferenceEscrow', 'GrantKey', grant)
      const args = [account, key, 1000n, FAR, 1, signature]
      await open({}).submit({ contract: 'InferenceEscrow', method: 'grantKeyBySig', args })
      await broke().submit(await revoking())
    })
  })

  it('pays nothing for what the chain would refuse, and takes it from nobody’s budget', async () => {
    const relay = open({ person: { acts: 1, gas: 1_000_000 } })
    const before = await sent()
    const [registration, deadline] = (await registering(member(2))).args
    const forged = await sign(stranger(), 'DatasetRegistry', 'WithdrawDataset', { datasetId: randomId() })
    for (let attempt = 0; attempt < 5; attempt++) {
      const bad = relay.submit({ contract: 'DatasetRegistry', method: 'registerBySig', args: [registration, deadline, forged] })
      const refusal = await refusalOf(bad)
      expect(refusal).toMatchObject({ code: 'relay.refused', evidence: { error: 'DatasetSignatureInvalid' } })
    }
    expect(await sent()).toBe(before)
    await relay.submit(await registering(member(2)))
  })

  it('keeps a limit for a minute over everything that a budget pays for', async () => {
    const relay = open({ perMinute: 1 })
    await relay.submit(await registering(member(2)))
    const refusal = await refusalOf(relay.submit(await registering(member(0))))
    expect(refusal.evidence).toMatchObject({ retryAfterSeconds: 60 })
    nowMs += 60_000
    await relay.submit(await registering(member(0)))
  })

  it('says over HTTP which budget is spent, and for how long', async () => {
    const app = await openApp({ log: silent, bodyLimitBytes: 65_536, requestsPerMinute: 1000 })
    relayRoutes(app, {
      relay: open({ person: { acts: 1, gas: 1_000_000 } }),
      registrar: null,
      membership: registry('Membership'),
    })
    const post = async (act: Call) => app.inject({ method: 'POST', url: '/v1/relay', payload: { ...act } })
    expect((await post(await registering(member(2)))).statusCode).toBe(200)
    const refused = await post(await registering(member(2)))
    expect(refused.statusCode).toBe(429)
    expect(refused.headers['retry-after']).toBe('86400')
    expect(refused.json()).toMatchObject({ code: 'relay.budget', budget: 'person', retryAfterSeconds: 86_400, retryable: true })
    await app.close()
  })

  it('stores terms that it has stored before at no cost', async () => {
    const relay = open({ shared: { acts: 1, gas: 10_000_000 } })
    const storing = (floorPrice: bigint) => ({
      contract: 'DatasetRegistry',
      method: 'storeTerms',
      args: [termsArgument({ ...terms, floorPrice })],
    })
    const first = await relay.submit(storing(77n))
    expect((await relay.submit(storing(77n))).hash).toBe(first.hash)
    expect((await refusalOf(relay.submit(storing(78n)))).evidence).toMatchObject({ budget: 'errands' })
  })
})

/** As good as the first, with other bytes: signing may take a random number where ethers takes a derived one. */
function signedAgain(digest: string, { privateKey }: Wallet): string {
  const options = { prehash: false, format: 'recovered', extraEntropy: true } as const
  const [recovery = 0, ...bytes] = secp256k1.sign(getBytes(digest), getBytes(privateKey), options)
  return hexlify(Uint8Array.from([...bytes, 27 + recovery]))
}
