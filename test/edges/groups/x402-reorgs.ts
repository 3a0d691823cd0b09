import type { Wallet } from 'ethers'
import { describe, expect, it } from 'vitest'
import { expectProblem } from '../support/wire.ts'
import { PRICE, pass, type X402Market } from '../support/x402-market.ts'
import { frontRun, payWith, signPayment } from '../support/x402-payments.ts'

const FUNDS = 100n
/** A transaction of the gateway that was dropped too is waited for until its time limit. */
const PATIENT = { timeout: 90_000 }
const LIMIT_MS = 240_000

/** Blocks that are dropped with all their transactions after the money had moved. */
export function reorgs(market: () => X402Market): void {
  const left = ({ address }: Wallet) => market().balanceOf(address)
  const height = async () => (await market().market.payer.head()).number
  /** Other blocks, without a transaction, take the place of those after `number`. */
  const dropTo = async (number: number) => {
    const { node } = market().market
    const dropped = (await height()) - number
    await node.rpc('anvil_rollback', dropped)
    await node.rpc('anvil_mine', `0x${(dropped + 1).toString(16)}`)
  }

  describe('a reorganisation', () => {
    it('that drops a payment does not give it back: it is sent again, and settles once', { timeout: LIMIT_MS }, async () => {
      await market().untilSettled()
      const before = (await market().house()).charged
      const signer = await market().payer(FUNDS)
      const payment = await signPayment(market(), { signer })
      const number = await height()
      expect((await payWith(market(), payment.header)).status).toBe(200)
      await dropTo(number)
      await expect.poll(() => left(signer), PATIENT).toBe(FUNDS - PRICE)
      await market().untilSettled()
      expect((await market().house()).charged).toBe(before + PRICE)
      expect((await payWith(market(), payment.header)).status).toBe(200)
      expect(await left(signer)).toBe(FUNDS - PRICE)
    })

    it('that drops what was given back gives it back again', { timeout: LIMIT_MS }, async () => {
      const signer = await market().payer(FUNDS)
      const payment = await signPayment(market(), { signer })
      market().workshop.fails = true
      expectProblem(await payWith(market(), payment.header), 502, 'provider.failed')
      market().workshop.fails = false
      await frontRun(market(), payment)
      const number = await height()
      await pass(market(), 900)
      const { from: payer, nonce } = payment.authorization
      const known = async () => (await market().ledger.payment({ payer: payer.toLowerCase(), nonce }))?.state
      await expect.poll(known, PATIENT).toBe('RETURNED')
      expect(await left(signer)).toBe(FUNDS)
      await dropTo(number)
      expect(await market().balanceOf(market().router)).toBeGreaterThanOrEqual(PRICE)
      await expect.poll(() => left(signer), PATIENT).toBe(FUNDS)
    })
  })
}
