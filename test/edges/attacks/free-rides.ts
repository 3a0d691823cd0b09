import { Signature } from 'ethers'
import { describe, expect, it } from 'vitest'
import { PRICE } from '../../services/support/operator.ts'
import { bearer } from '../support/scene.ts'
import { draftSession, escrowOf, highS, sessionRequest, signVoucher, voucherHeader } from '../support/session.ts'
import { paid, type Stand, sendEverywhere, statusesOf, visit } from '../support/stand.ts'
import { openWire } from '../support/wire.ts'

const CROWD = 64

/** More answers than were paid for. */
export function freeRides(stand: () => Stand): void {
  const body = (text: string) => stand().operator.body(text)

  describe('concurrent replay of one credential', () => {
    it('of one session request, at both gateways at once, is one job, one charge and one answer for all', async () => {
      const visitor = await visit(stand(), 1000n * PRICE)
      const sent = await paid(visitor, await visitor.session(), { body: body('replayed'), ceiling: 1000n * PRICE })
      const replies = await sendEverywhere(stand(), CROWD, () => sent)
      expect(statusesOf(replies)).toEqual({ 200: CROWD })
      expect(new Set(replies.map(({ bytes }) => bytes.toString())).size).toBe(1)
      expect(await visitor.charged()).toEqual({ lines: 1, sum: PRICE })
    })

    it('of one API key with one Idempotency-Key, at both gateways at once, is one job, one charge and one answer for all', async () => {
      const visitor = await visit(stand(), 1000n * PRICE)
      const { apiKey } = await visitor.granary.account.createApiKey({ cap: 1000n * PRICE, lifeSeconds: 3600, label: 'r' })
      await stand().operator.indexed()
      const headers = { ...bearer(apiKey), 'idempotency-key': 'the-same' }
      const replies = await sendEverywhere(stand(), CROWD, () => ({ body: body('replayed'), headers }))
      expect(statusesOf(replies)).toEqual({ 200: CROWD })
      expect(await visitor.charged()).toEqual({ lines: 1, sum: PRICE })
    })

    it('of a session request under another body, path or voucher is no request of the session', async () => {
      const visitor = await visit(stand(), 1000n * PRICE)
      const { headers } = await paid(visitor, await visitor.session(), { body: body('mine'), ceiling: PRICE })
      const other = { ...headers, 'granary-voucher': await visitor.voucher(500n * PRICE) }
      const send = openWire(stand().gateways[1].url)
      for (const sent of [
        { body: body('another'), headers },
        { body: body('mine'), headers: other },
        { body: body('mine'), headers, path: '/v1/infer?again' },
      ])
        expect((await send(sent)).status).toBe(401)
      expect(await visitor.charged()).toEqual({ lines: 0, sum: 0n })
    })
  })

  describe('over-ceiling free ride', () => {
    it(`of ${CROWD} requests at once on a voucher for one is one answer`, async () => {
      const visitor = await visit(stand(), 1000n * PRICE)
      const session = await visitor.session()
      const all = await Promise.all(
        Array.from({ length: CROWD }, (_, index) => paid(visitor, session, { body: body(`ride ${index}`), ceiling: PRICE })),
      )
      const replies = await sendEverywhere(stand(), CROWD, (index) => all[index] ?? {})
      expect(statusesOf(replies)).toEqual({ 200: 1, 402: CROWD - 1 })
      expect(await visitor.charged()).toEqual({ lines: 1, sum: PRICE })
      expect(await visitor.standing()).toMatchObject({ reserved: 0n, spent: PRICE })
    })

    it('of two keys of one account that each promise all of its deposit is one deposit’s worth of answers', async () => {
      const places = 10n
      const visitor = await visit(stand(), places * PRICE)
      const [one, other] = await Promise.all(
        ['one', 'other'].map((label) => visitor.granary.account.createApiKey({ cap: places * PRICE, lifeSeconds: 3600, label })),
      )
      await stand().operator.indexed()
      const keys = [one?.apiKey ?? '', other?.apiKey ?? '']
      const replies = await sendEverywhere(stand(), 40, (index) => ({
        body: body(`ride ${index}`),
        headers: bearer(keys[Math.floor(index / 2) % 2] ?? ''),
      }))
      expect(statusesOf(replies)).toEqual({ 200: Number(places), 402: 40 - Number(places) })
      expect(await visitor.charged()).toEqual({ lines: Number(places), sum: places * PRICE })
    })
  })

  describe('malleable signature', () => {
    it('in the upper half order is refused for voucher, session, grant and relayed act', async () => {
      const visitor = await visit(stand(), 1000n * PRICE)
      const { facts, wallet, accountId, config, granary } = visitor
      const send = openWire(stand().gateways[0].url)
      const session = await visitor.session()
      const good = await signVoucher({ signer: wallet, escrow: escrowOf(facts), accountId, ceiling: PRICE })
      const voucher = voucherHeader({ ...good, signature: highS(good.signature) })
      const twin = await send({ body: body('twin'), headers: sessionRequest(session, { body: body('twin'), voucher }) })
      expect(twin).toMatchObject({ status: 402, json: { code: 'voucher.forged' } })

      const { body: opening } = await draftSession(facts, {
        account: config,
        signer: wallet,
        expiresAt: (await granary.context.now()) + 60,
      })
      const reopened = await send({ path: '/v1/sessions', body: { ...opening, signature: highS(opening.signature) } })
      expect(reopened).toMatchObject({ status: 401, json: { code: 'credential.unknown' } })

      const file = await granary.sign((one) => one.account.funds().startThaw(1n))
      const [act] = file.acts
      const args = [...(act?.args.slice(0, -1) ?? []), highS(String(act?.args.at(-1)))]
      expect(await send({ path: '/v1/relay', body: { ...act, args } })).toMatchObject({
        status: 400,
        json: { code: 'relay.refused' },
      })

      const { key, offer } = (await send({ path: '/v1/keys/offer', body: {} })).json
      const grant = { accountId, key, cap: 10n, notAfter: 4_000_000_000, nonce: 1 }
      const signature = highS(await granary.context.sign('InferenceEscrow', 'GrantKey', grant))
      const terms = { account: config, key, offer, cap: '10', notAfter: grant.notAfter, nonce: 1, signature }
      const made = await send({ path: '/v1/keys', body: { ...terms, label: '', models: [], purposes: [] } })
      expect(made).toMatchObject({ status: 400, json: { code: 'relay.refused' } })
    })

    it('in its compact form is the same voucher, which promises nothing more', async () => {
      const visitor = await visit(stand(), 1000n * PRICE)
      const { facts, wallet, accountId } = visitor
      const session = await visitor.session()
      const good = await signVoucher({ signer: wallet, escrow: escrowOf(facts), accountId, ceiling: PRICE })
      const forms = [good.signature, Signature.from(good.signature).compactSerialized]
      const send = openWire(stand().gateways[0].url)
      const statuses: number[] = []
      for (const [index, signature] of forms.entries()) {
        const asked = body(`form ${index}`)
        const headers = sessionRequest(session, { body: asked, voucher: voucherHeader({ ...good, signature }) })
        statuses.push((await send({ body: asked, headers })).status)
      }
      expect(statuses).toEqual([200, 402])
      expect(await visitor.charged()).toEqual({ lines: 1, sum: PRICE })
    })
  })
}
