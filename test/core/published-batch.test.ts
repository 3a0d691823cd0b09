import canonicalize from 'canonicalize'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encodeBatch, type PublishedBatch } from '../../services/core/published-batch.ts'

const text = fc.string({ unit: 'grapheme', maxLength: 20 })
const number = fc.nat()

/** An object with its keys in any order. */
function shuffled(fields: Record<string, fc.Arbitrary<unknown>>): fc.Arbitrary<Record<string, unknown>> {
  const names = Object.keys(fields)
  return fc
    .tuple(fc.record(fields), fc.shuffledSubarray(names, { minLength: names.length }))
    .map(([value, order]) => Object.fromEntries(order.map((name) => [name, value[name]])))
}

const job = shuffled({
  ...{ jobId: text, modelId: text, provider: text, inputCommitment: text, outputCommitment: text, units: text, unitPrice: text },
  ...{ purpose: number, consentBlock: number, servedAt: number, computeMicros: number },
})
const receipt = shuffled({ sequence: text, previousHead: text, charged: text, job, providerSignature: text })
const row = shuffled({
  ...{ payer: text, salt: text, key: text, from: text, ceiling: text, usageHead: text, signature: text },
  thawSeconds: number,
  receipts: fc.array(receipt, { maxLength: 3 }),
})
const lane = shuffled({ modelId: text, provider: text, purpose: number, lastServedAt: number })
const batch = shuffled({
  ...{ chainId: text, escrow: text, token: text, collector: text, batchId: text },
  format: fc.constant('granary-batch/1'),
  lanes: fc.array(lane, { maxLength: 3 }),
  rows: fc.array(row, { maxLength: 3 }),
}) as fc.Arbitrary<unknown> as fc.Arbitrary<PublishedBatch>

describe('a published batch', () => {
  it('is canonical JSON (RFC 8785), in whatever order its objects were put together', () => {
    fc.assert(
      fc.property(batch, (one) => {
        expect(new TextDecoder().decode(encodeBatch(one))).toBe(canonicalize(one))
      }),
    )
  })
})
