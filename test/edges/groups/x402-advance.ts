import { describe, expect, it } from 'vitest'
import { expectProblem } from '../support/wire.ts'
import { PRICE, pass, type X402Market } from '../support/x402-market.ts'
import { frontRun, payWith, signPayment } from '../support/x402-payments.ts'

const FUNDS = 100n
const PATIENT = { timeout: 60_000 }
const LIMIT_MS = 180_000

/** What was swept into the house account, and turns out to be the payer's. */
export function advances(market: () => X402Market): void {
  describe('a refund for which the router holds too little', () => {
    it('waits for the collector’s dollars, and is paid out of them, once', { timeout: LIMIT_MS }, async () => {
      const { chain, router, ledger, balanceOf } = market()
      const { collector, payer: faucet } = market().market
      const address = collector.sender ?? ''
      const signer = await market().payer(FUNDS)
      const payment = await signPayment(market(), { signer })
      market().workshop.fails = true
      expectProblem(await payWith(market(), payment.header), 502, 'provider.failed')
      market().workshop.fails = false
      await market().untilSettled()
      await frontRun(market(), payment)
      // As if its request had been charged when it was swept, and voided since.
      const swept = BigInt(String(await chain.read({ contract: 'X402Router', method: 'swept', args: [] })))
      const total = swept + (await balanceOf(router))
      await collector.submit({ contract: 'X402Router', method: 'sweep', args: [total, '0x'] })
      expect(await balanceOf(address)).toBe(0n)

      await pass(market(), 900)
      const { from, nonce } = payment.authorization
      const state = async () => (await ledger.payment({ payer: from.toLowerCase(), nonce }))?.state
      await expect.poll(state, PATIENT).toBe('RETURNING')
      expect(await balanceOf(signer.address)).toBe(FUNDS - PRICE)
      await faucet.submit({ contract: 'Token', method: 'mint', args: [address, 3n * PRICE] })
      await expect.poll(state, PATIENT).toBe('RETURNED')
      expect(await balanceOf(signer.address)).toBe(FUNDS)
      expect([await balanceOf(address), await balanceOf(router)]).toEqual([2n * PRICE, 0n])
    })
  })
}
