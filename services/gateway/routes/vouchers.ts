import type { FastifyInstance } from 'fastify'
import { GranaryError } from '../../core/errors.ts'
import type { Shop } from '../order.ts'

/** POST /v1/vouchers: keeps the voucher in the header of a session's request, so that a running stream can go on. */
export function voucherRoutes(app: FastifyInstance, { shop }: { shop: Shop }): void {
  app.post('/v1/vouchers', async (request) => {
    const { method, url: path, headers, rawBody = new Uint8Array() } = request
    const payer = await shop.payers.identify({ method, path, headers, rawBody })
    if (!payer) throw new GranaryError('credential.unknown', 'A voucher is posted under a session of its key.')
    const { accountId, key, voucher } = payer
    if (!voucher) throw new GranaryError('request.malformed', 'There is no voucher in the header granary-voucher.')
    const accepted = await shop.ledger.acceptVoucher(voucher)
    if (!accepted.ok && accepted.reason === 'account-unknown')
      throw new GranaryError('account.unknown', 'This account has no confirmed deposit here.', { accountId })
    shop.streams.raised({ accountId, key })
    // Of two at once the higher one stays, whichever came last.
    return { accountId, key, ceiling: (accepted.ok ? voucher.ceiling : accepted.ceiling).toString() }
  })
}
