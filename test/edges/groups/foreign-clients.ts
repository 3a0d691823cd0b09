import { describe, expect, it } from 'vitest'
import { until } from '../../../scripts/story/world.ts'
import type { InferAnswer } from '../../../services/core/api.ts'
import { checkReceipt } from '../../../services/sdk/receipts.ts'
import { DOLLAR } from '../support/purse.ts'
import { type Scene, SPAM_PRICE, spam } from '../support/scene.ts'
import { escrowOf } from '../support/session.ts'
import { decoded } from '../support/x402-payments.ts'
import { fetchAs } from './x402-clients.ts'

/** Whoever comes with dollars and a client that nobody here wrote: no account, no key, no gas. */
export function foreignClients(scene: () => Scene): void {
  describe('a foreign client', () => {
    it('@x402/fetch buys an inference, and the price settles from the router’s house account', async () => {
      const { stage, facts } = scene()
      const { world, gatewayUrl } = stage
      const person = await world.person('stranger')
      await world.giveDollars(person, DOLLAR)
      const house = await world.read<string>('X402Router', 'ACCOUNT_ID')
      const charged = async () => (await world.read<{ charged: bigint }>('InferenceEscrow', 'balance', house)).charged
      const before = await charged()

      const asked = spam('win a prize now')
      const init = {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(asked),
      }
      const response = await fetchAs(person.wallet)(`${gatewayUrl}/v1/infer`, init)
      const answer = (await response.json()) as InferAnswer
      expect({ status: response.status, charged: answer.charged }).toEqual({ status: 200, charged: SPAM_PRICE.toString() })
      const { transaction } = decoded(response.headers.get('payment-response'))
      expect(await world.provider.getTransactionReceipt(String(transaction))).toMatchObject({ status: 1 })
      expect(await world.balanceOf(person.address)).toBe(DOLLAR - SPAM_PRICE)
      const { collector } = facts
      checkReceipt({ asked, answer, escrow: escrowOf(facts), collector, accountId: house, key: collector, max: SPAM_PRICE })
      await until('the payment to settle', async () => (await charged()) === before + SPAM_PRICE, 60_000)
    })
  })
}
