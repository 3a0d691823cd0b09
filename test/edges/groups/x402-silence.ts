import type { Wallet } from 'ethers'
import { describe, expect, it } from 'vitest'
import { GranaryError } from '../../../services/core/errors.ts'
import type { Chain } from '../../../services/core/ports.ts'
import { expectProblem } from '../support/wire.ts'
import { PRICE, pass, type X402Market } from '../support/x402-market.ts'
import { payWith, signPayment } from '../support/x402-payments.ts'

const FUNDS = 100n

/** What becomes of payments while nobody knows what the chain does. */
export function silence(market: () => X402Market): void {
  const paying = async (draft: Record<string, unknown> = {}) => {
    const signer = await market().payer(FUNDS)
    return { signer, payment: await signPayment(market(), { signer, ...draft }) }
  }
  const left = ({ address }: Wallet) => market().balanceOf(address)

  describe('a chain that does not answer', () => {
    it('before anything was sent leaves the payment unused', async () => {
      const { signer, payment } = await paying()
      await unlike(market(), { submit: async () => Promise.reject(unavailable()) }, async () => {
        expectProblem(await payWith(market(), payment.header), 503, 'chain.unavailable')
      })
      expect(await left(signer)).toBe(FUNDS)
      expect((await payWith(market(), payment.header)).status).toBe(200)
      expect(await left(signer)).toBe(FUNDS - PRICE)
    })

    it('after the broadcast is no 402: the same payment gets the answer later, and is charged once', async () => {
      const { signer, payment } = await paying()
      const jobs = market().workshop.jobs
      await unlike(market(), { submit: lost(market().chain), read: silentOnce(market().chain) }, async () => {
        expectProblem(await payWith(market(), payment.header), 503, 'payment.pending')
      })
      const { header } = payment
      await expect.poll(async () => (await payWith(market(), header)).status, { timeout: 20_000 }).toBe(200)
      const reply = await payWith(market(), header)
      expect(reply.json).toMatchObject({ charged: PRICE.toString() })
      expect(market().workshop.jobs).toBe(jobs + 1)
      expect(await left(signer)).toBe(FUNDS - PRICE)
    })

    it('and a gateway that dies after the broadcast keep the answer for who paid', async () => {
      const { signer, payment } = await paying()
      await unlike(market(), { submit: lost(market().chain), read: silentOnce(market().chain) }, async () => {
        expectProblem(await payWith(market(), payment.header), 503, 'payment.pending')
        await market().restart()
      })
      await expect.poll(async () => (await payWith(market(), payment.header)).status, { timeout: 20_000 }).toBe(200)
      expect(await left(signer)).toBe(FUNDS - PRICE)
    })

    it('and never takes what it was sent charges nothing once the authorization has ended', async () => {
      const { timestamp } = await market().market.payer.head()
      const { signer, payment } = await paying({ validBefore: timestamp + 100 })
      const forget: Partial<Chain> = { submit: lost(market().chain, { sends: false }), broadcast: async () => undefined }
      await unlike(market(), forget, async () => {
        expectProblem(await payWith(market(), payment.header), 503, 'payment.pending')
        await pass(market(), 400)
        const id = { payer: signer.address.toLowerCase(), nonce: payment.authorization.nonce }
        await expect
          .poll(async () => (await market().ledger.payment(id))?.state, { timeout: 20_000 })
          .toMatch(/^(RELEASED|CLOSED)$/)
      })
      expect(await left(signer)).toBe(FUNDS)
    })
  })
}

const unavailable = () => new GranaryError('chain.unavailable', 'The chain does not answer.')

/** The gateway's chain with something of it replaced, for as long as `work` takes. */
export async function unlike({ chain }: X402Market, replaced: Partial<Chain>, work: () => Promise<void>): Promise<void> {
  const before = { ...chain }
  Object.assign(chain, replaced)
  try {
    await work()
  } finally {
    Object.assign(chain, before)
  }
}

/** Signs, lets it be stored, sends it or not, and says that nothing is known. */
export function lost(chain: Chain, { sends = true } = {}): Chain['submit'] {
  const { prepare, broadcast } = chain
  return async (call, options) => {
    const transaction = await prepare(call)
    await options?.signed?.(transaction)
    if (sends) await broadcast(transaction)
    throw unavailable()
  }
}

/** The look after the settlement gets no answer; rounds look at other payments meanwhile. */
export function silentOnce({ read }: Chain): Chain['read'] {
  const asked = new Set<unknown>()
  return (call, block) => {
    if (call.method !== 'authorizationState') return read(call, block)
    const [, nonce] = call.args
    if (asked.has(nonce)) return Promise.reject(unavailable())
    asked.add(nonce)
    return read(call, block)
  }
}
