import { hash } from 'node:crypto'
import { GranaryError } from '../core/errors.ts'
import type { Shop } from './order.ts'
import type { Payer } from './payer.ts'
import { refusalOf } from './refusals.ts'
import { identityOf } from './repeats.ts'
import { streamHash } from './streams/sale-in-steps.ts'

/**
 * The answer to a request that can't be taken now because no provider is there, or free, for it: it may be the repeat of one that was
 * answered and charged, and needs none. Null where it is not; throws what a repeat is told.
 */
export async function boughtBefore(
  shop: Shop,
  {
    error,
    payer,
    rawBody,
    inSteps,
  }: { error: unknown; payer: () => Promise<Payer | null>; rawBody: Uint8Array; inSteps: boolean },
): Promise<Uint8Array | null> {
  const isShortOfProviders = error instanceof GranaryError && (error.code === 'provider.none' || error.code === 'provider.busy')
  const found = isShortOfProviders ? await payer() : null
  if (!found || found.idempotencyKey === null) return null
  const { accountId, key, idempotencyKey } = found
  const identity = identityOf({ accountId, key, idempotencyKey })
  const request = await shop.ledger.requestBefore({ accountId, idempotencyKey: identity.digest })
  if (!request) return null
  const bodyHash = `0x${hash('sha256', rawBody)}`
  if (request.bodyHash !== (inSteps ? streamHash(bodyHash) : bodyHash))
    throw refusalOf({ ok: false, reason: 'conflict', requestId: request.requestId }, found, null)
  return shop.repeats.answer({ ok: false, reason: 'repeated', request }, identity)
}
