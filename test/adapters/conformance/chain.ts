import { Wallet } from 'ethers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Call } from '../../../services/core/chain-records.ts'
import { GranaryError } from '../../../services/core/errors.ts'
import type { Chain } from '../../../services/core/ports.ts'

/** What a suite needs of the world: two funded senders' chains, a reader without a key, and a way to lose blocks. */
export interface ChainWorld extends AsyncDisposable {
  first: Chain
  second: Chain
  reader: Chain
  unfunded: Chain
  mine(): Promise<void>
  /** Takes back every block after `number`. */
  loseBlocksAfter(number: number): Promise<void>
}

/** Every Chain adapter keeps these promises. */
export function chainConformance(name: string, open: () => Promise<ChainWorld>): void {
  describe(`Chain port: ${name}`, () => {
    let world: ChainWorld
    beforeAll(async () => {
      world = await open()
    })
    afterAll(async () => {
      await world?.[Symbol.asyncDispose]()
    })

    it('links each block to its parent, and answers null for one that is not there', async () => {
      await world.mine()
      const head = await world.reader.head()
      const parent = await world.reader.block(head.number - 1)
      expect(head.parentHash).toBe(parent?.hash)
      expect(await world.reader.block(head.number)).toEqual(head)
      expect(await world.reader.block(head.number + 1000)).toBeNull()
    })

    it('submits a call and finds its event again with JSON-safe named arguments', async () => {
      const before = await world.reader.head()
      const outcome = await world.first.submit(registerProvider('alpha'))
      expect(outcome.succeeded).toBe(true)
      expect(outcome.gasUsed).toBeGreaterThan(0n)
      const events = await world.reader.events(before.number + 1, outcome.block)
      expect(events).toEqual(outcome.events)
      const registered = events.find((event) => event.name === 'ProviderRegistered')
      expect(registered).toMatchObject({ contract: 'ProviderRegistry', block: outcome.block, transaction: outcome.hash })
      expect(registered?.args).toMatchObject({ operator: world.first.sender, name: 'alpha' })
      const named = (...names: string[]) => world.reader.events(before.number + 1, outcome.block, names)
      expect(await named('DatasetWithdrawn', 'ProviderRegistered')).toEqual([registered])
      expect(await named('DatasetWithdrawn')).toEqual([])
      expect(JSON.parse(JSON.stringify(events))).toEqual(events)
    })

    it("finds one kind of event by its indexed arguments, the token's too", async () => {
      const { sender } = world.first
      const { block } = await world.first.submit({ contract: 'Token', method: 'mint', args: [sender, 5n] })
      await world.first.submit({ contract: 'Token', method: 'mint', args: [world.second.sender, 6n] })
      const event = { contract: 'Token', name: 'Transfer', args: { to: String(sender) } }
      const found = await world.reader.find(event, block, block + 1)
      expect(found).toMatchObject([{ contract: 'Token', name: 'Transfer', block, args: { to: sender, value: '5' } }])
      expect(await world.reader.find(event, block + 1, block + 1)).toEqual([])
    })

    it('tells of a submission once it is signed, before it is sent; nothing is sent when that fails', async () => {
      let signed = ''
      const call = registerProvider('signed')
      const outcome = await world.first.submit(call, {
        signed: async ({ hash }) => {
          signed = hash
          expect(await world.reader.outcome(hash)).toBeNull()
        },
      })
      expect(outcome.hash).toBe(signed)
      let unsent = ''
      const failing = async ({ hash }: { hash: string }) => {
        unsent = hash
        throw new Error('not stored')
      }
      await expect(world.first.submit(call, { signed: failing })).rejects.toThrow('not stored')
      expect((await world.first.submit(registerProvider('another'))).succeeded).toBe(true)
      expect(await world.reader.outcome(unsent)).toBeNull()
    })

    it('tells which call of ours a transaction made', async () => {
      const call = registerProvider('told')
      const { hash } = await world.first.submit(call)
      const [sessionKey, ...others] = call.args
      expect(await world.reader.callOf(hash)).toEqual({ ...call, args: [String(sessionKey).toLowerCase(), ...others] })
      expect(await world.reader.callOf(`0x${'00'.repeat(32)}`)).toBeNull()
    })

    it('reads structs as plain objects with bigints and lower-case addresses, also at an earlier block', async () => {
      const { block } = await world.second.submit(registerProvider('beta'))
      const call = { contract: 'ProviderRegistry', method: 'provider', args: [world.second.sender] }
      const provider = (await world.reader.read(call)) as Record<string, unknown>
      expect(provider).toMatchObject({ name: 'beta', stake: 0n, unstakeAt: 0n })
      expect(provider.sessionKey).toBe(String(provider.sessionKey).toLowerCase())
      expect(await world.reader.read(call, block - 1)).toMatchObject({ name: '' })
      const nobody = { ...call, args: [world.unfunded.sender] }
      expect(await world.reader.readAll([call, nobody, call], block)).toEqual([
        provider,
        await world.reader.read(nobody),
        provider,
      ])
      expect(await world.reader.readAll([])).toEqual([])
    })

    it('estimates what a call would use, or why it would be refused, without sending it', async () => {
      const head = await world.first.head()
      const estimated = await world.first.estimate(registerProvider('estimated'))
      const refused = { contract: 'ProviderRegistry', method: 'setOffer', args: [`0x${'11'.repeat(32)}`, 0, 5n] }
      expect((await refusalOf(world.first.estimate(refused))).evidence.error).toMatch(/^Provider/)
      expect(await world.first.head()).toEqual(head)
      const { gasUsed } = await world.first.submit(registerProvider('estimated'))
      expect(gasUsed).toBeLessThanOrEqual(estimated)
      expect(gasUsed).toBeGreaterThan(estimated / 2n)
    })

    it("decodes a contract's typed refusal before anything is sent", async () => {
      const head = await world.first.head()
      const call = { contract: 'ProviderRegistry', method: 'setOffer', args: [`0x${'11'.repeat(32)}`, 0, 5n] }
      const refusal = await refusalOf(world.first.submit(call))
      expect(refusal.code).toBe('chain.reverted')
      expect(refusal.evidence).toMatchObject({ contract: 'ProviderRegistry' })
      expect(refusal.evidence.error).toMatch(/^Provider/)
      expect(await world.first.head()).toEqual(head)
      expect((await refusalOf(world.reader.read(call))).evidence.error).toMatch(/^Provider/)
    })

    it('gives every one of many simultaneous submissions its own nonce', async () => {
      const outcomes = await Promise.all(
        Array.from({ length: 8 }, (_, index) => world.first.submit(registerProvider(`name ${index}`))),
      )
      expect(new Set(outcomes.map(({ hash }) => hash)).size).toBe(8)
      expect(outcomes.every(({ succeeded }) => succeeded)).toBe(true)
    })

    it('knows no outcome of a prepared transaction until it is broadcast; a second broadcast changes nothing', async () => {
      const transaction = await world.first.prepare(registerProvider('gamma'))
      expect(await world.first.outcome(transaction.hash)).toBeNull()
      await world.first.broadcast(transaction)
      await world.mine()
      const outcome = await world.reader.outcome(transaction.hash)
      expect(outcome?.succeeded).toBe(true)
      await world.first.broadcast(transaction)
      expect(await world.reader.outcome(transaction.hash)).toEqual(outcome)
    })

    it('refuses a transaction whose nonce another one has used', async () => {
      const late = await world.first.prepare(registerProvider('late'))
      await world.first.submit(registerProvider('early'))
      await world.mine()
      const refusal = await refusalOf(world.first.broadcast(late))
      expect(refusal.evidence.error).toBe('NonceUsed')
    })

    it('says so when the sender cannot pay for gas, and when there is no sender', async () => {
      expect((await refusalOf(world.unfunded.prepare(registerProvider('poor')))).code).toBe('chain.unfunded')
      expect((await refusalOf(world.reader.prepare(registerProvider('nobody')))).code).toBe('config.invalid')
    })

    it('forgets events of blocks that the chain has lost, and continues with the next nonce', async () => {
      const before = await world.reader.head()
      const lost = await world.first.submit(registerProvider('lost'))
      await world.loseBlocksAfter(before.number)
      await world.mine()
      expect(await world.reader.outcome(lost.hash)).toBeNull()
      expect((await world.reader.block(lost.block))?.hash).not.toBe(lost.blockHash)
      expect(await world.reader.events(before.number + 1, (await world.reader.head()).number)).toEqual([])
      expect((await world.first.submit(registerProvider('found'), { timeoutMs: 5000 })).succeeded).toBe(true)
    })
  })
}

export function registerProvider(name: string): Call {
  return { contract: 'ProviderRegistry', method: 'register', args: [Wallet.createRandom().address, `0x${'ab'.repeat(32)}`, name] }
}

export async function refusalOf(attempt: Promise<unknown>): Promise<GranaryError> {
  const error = await attempt.then(
    () => null,
    (thrown: unknown) => thrown,
  )
  if (!(error instanceof GranaryError)) throw new Error(`expected a refusal, got ${error}`)
  return error
}
