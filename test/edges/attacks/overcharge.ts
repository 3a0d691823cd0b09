import { Wallet } from 'ethers'
import { describe, expect, it } from 'vitest'
import type { InferAnswer } from '../../../services/core/api.ts'
import { structHashOf } from '../../../services/core/messages.ts'
import { signReceipts } from '../../../services/core/receipt-signature.ts'
import { Granary } from '../../../services/sdk/index.ts'
import { PRICE } from '../../services/support/operator.ts'
import { escrowOf } from '../support/session.ts'
import { type Stand, visit } from '../support/stand.ts'

/** A gateway that holds the collector's key and charges what it likes. */
export function overcharge(stand: () => Stand): void {
  describe('overcharge by a gateway', () => {
    const collector = () => new Wallet(stand().operator.market.node.wallets[1]?.privateKey ?? '')
    /** Consistent with itself, and signed by whom it should be. */
    const signed = (answer: InferAnswer, signer = collector()) => {
      const { receipt } = answer
      const { job, accountId, key, previousHead } = receipt
      const charged = BigInt(answer.charged)
      const jobHash = structHashOf('InferenceEscrow', 'JobReceipt', job)
      const value = { jobHash, accountId, key, sequence: BigInt(receipt.sequence), charged, previousHead }
      const { market } = stand().operator
      const escrow = { chainId: market.payer.chainId, address: market.payer.addresses.InferenceEscrow ?? '' }
      receipt.head = structHashOf('InferenceEscrow', 'Receipt', value)
      const sign = (digest: string) => signer.signingKey.sign(digest).serialized
      Object.assign(receipt, signReceipts([receipt.head], { escrow, sign }).get(receipt.head))
      return answer
    }
    const lies: Record<string, (answer: InferAnswer) => InferAnswer> = {
      'more than was agreed, properly signed': (answer) => {
        answer.receipt.job.units = '1000'
        return signed({ ...answer, charged: (1000n * PRICE).toString() })
      },
      'more than units times price, properly signed': (answer) => signed({ ...answer, charged: (PRICE + 1n).toString() }),
      'other outputs than the provider signed': (answer) => {
        const [output] = answer.outputs
        return output ? { ...answer, outputs: [{ ...output, data: ['mood of nobody'] }] } : answer
      },
      'for another account': (answer) => {
        answer.receipt.accountId = `0x${'ac'.repeat(32)}`
        return signed(answer)
      },
      'for another model': (answer) => {
        answer.receipt.job.modelId = `0x${'ad'.repeat(32)}`
        return signed(answer)
      },
      'signed by somebody else': (answer) => signed(answer, new Wallet(Wallet.createRandom().privateKey)),
      'under the head of another receipt': (answer) => {
        answer.receipt.head = `0x${'ae'.repeat(32)}`
        return answer
      },
      'by the path of another receipt': (answer) => {
        answer.receipt.path = [...answer.receipt.path, `0x${'af'.repeat(32)}`]
        return answer
      },
    }
    for (const [what, lie] of Object.entries(lies)) {
      it(`${what}: is seen by the SDK, which pays that gateway nothing more`, async () => {
        const { wallet } = await visit(stand(), 100n * PRICE)
        let sent = 0
        let isLying = false
        const lying: typeof fetch = async (input, init) => {
          const answer = await fetch(input, init)
          if (!String(input).endsWith('/v1/infer')) return answer
          sent += 1
          if (!isLying || !answer.ok) return answer
          return Response.json(lie((await answer.json()) as InferAnswer))
        }
        const granary = await Granary.open({ gatewayUrl: stand().gateways[0].url, wallet, fetch: lying })
        expect(escrowOf(granary.context.facts).address).toBe(stand().operator.market.payer.addresses.InferenceEscrow)
        const meter = await granary.account.meter({ maxPerRequest: 2n * PRICE })
        const body = stand().operator.body('hello')
        expect(await meter.infer(body)).toMatchObject({ charged: PRICE.toString() })
        isLying = true
        await expect(meter.infer(body)).rejects.toMatchObject({ code: 'receipt.wrong' })
        isLying = false
        const before = sent
        await expect(meter.infer(body)).rejects.toMatchObject({ code: 'receipt.wrong' })
        expect(sent).toBe(before)
      })
    }
  })
}
