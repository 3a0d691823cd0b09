import { Wallet } from 'ethers'
import { beforeAll, describe, expect, it } from 'vitest'
import { digestOf } from '../../../services/core/messages.ts'
import { expectUntouched, type Money } from '../support/purse.ts'
import type { Scene } from '../support/scene.ts'
import { spam } from '../support/scene.ts'
import { draftSession, escrowOf, type OpenSession, openedSession, type SessionDraft, sessionRequest } from '../support/session.ts'
import { expectProblem } from '../support/wire.ts'

const HOUR = 3600

/** A session of the customer, or one with something wrong about it. */
export async function openSession(scene: Scene, wrong: Partial<SessionDraft> = {}): Promise<OpenSession> {
  const { send, facts } = scene
  const draft = await drafted(scene, wrong)
  const reply = await send({ path: '/v1/sessions', body: draft.body })
  expect(reply.json).toMatchObject({ sessionId: expect.any(String), accountId: draft.accountId })
  return openedSession(facts, draft, String(reply.json.sessionId))
}

async function drafted({ facts, purse, stage }: Scene, wrong: Partial<SessionDraft>) {
  const expiresAt = (await stage.world.timestamp()) + HOUR
  return draftSession(facts, { account: purse.config, signer: purse.person.wallet, expiresAt, ...wrong })
}

/** Sessions and MACs that are not the customer's. */
export function sessions(scene: () => Scene): void {
  describe('sessions', () => {
    let before: Money
    let session: OpenSession
    const open = async (wrong: Partial<SessionDraft>) => {
      const { body } = await drafted(scene(), wrong)
      return scene().send({ path: '/v1/sessions', body })
    }
    beforeAll(async () => {
      before = await scene().purse.money()
      session = await openSession(scene())
    })

    it('refuses a session that another wallet signed in the name of the key', async () => {
      const key = scene().purse.person.address
      expectProblem(await open({ signer: new Wallet(Wallet.createRandom().privateKey), key }), 401, 'credential.unknown')
    })

    it('refuses a session signed for another chain or another escrow', async () => {
      const escrow = escrowOf(scene().facts)
      expectProblem(await open({ escrow: { ...escrow, chainId: 1n } }), 401, 'credential.unknown')
      expectProblem(await open({ escrow: { ...escrow, address: `0x${'11'.repeat(20)}` } }), 401, 'credential.unknown')
    })

    it('refuses an account of another collector, and names its own', async () => {
      const { purse, facts } = scene()
      const problem = expectProblem(
        await open({ account: { ...purse.config, collector: `0x${'22'.repeat(20)}` } }),
        400,
        'request.malformed',
      )
      expect(problem.collector).toBe(facts.collector)
    })

    it('refuses a session that has expired, or would live for more than a day', async () => {
      const now = await scene().stage.world.timestamp()
      expectProblem(await open({ expiresAt: now - 1 }), 400, 'request.malformed')
      expectProblem(await open({ expiresAt: now + 25 * HOUR }), 400, 'request.malformed')
    })

    it('refuses an ephemeral key that gives no secret', async () => {
      expectProblem(await open({ ephemeralKey: `0x${'00'.repeat(32)}` }), 400, 'request.malformed')
    })

    it('refuses a body that is no session', async () => {
      const { body } = await drafted(scene(), {})
      for (const wrong of [
        {},
        { ...body, expiresAt: 2 ** 41 },
        { ...body, signature: '0x' },
        { ...body, key: '0x1' },
        { ...body, account: null },
      ]) {
        expectProblem(await scene().send({ path: '/v1/sessions', body: wrong }), 400, 'request.malformed')
      }
    })

    it('refuses a session that nobody opened', async () => {
      const unknown = { ...session, sessionId: `0x${'33'.repeat(32)}` }
      const reply = await scene().send({ body: spam('hi'), headers: sessionRequest(unknown, { body: spam('hi') }) })
      expectProblem(reply, 401, 'credential.unknown')
    })

    const body = spam('hi')
    const macs: Record<string, () => Record<string, string>> = {
      'no MAC': () => ({ ...sessionRequest(session, { body }), 'granary-mac': '' }),
      'a MAC under another key': () => sessionRequest({ ...session, macKey: new Uint8Array(32) }, { body }),
      'a MAC over another body': () => sessionRequest(session, { body: spam('ho') }),
      'a MAC over another path': () => sessionRequest(session, { body, path: '/v1/infer?x' }),
      'a MAC over another method': () => sessionRequest(session, { body, method: 'PUT' }),
      'a MAC over another Idempotency-Key': () => ({ ...sessionRequest(session, { body }), 'idempotency-key': 'another' }),
      'a MAC without the voucher that came': () => ({ ...sessionRequest(session, { body }), 'granary-voucher': 'e30' }),
    }
    for (const [what, headers] of Object.entries(macs)) {
      it(`refuses ${what} as credential.unknown`, async () => {
        expectProblem(await scene().send({ body, headers: headers() }), 401, 'credential.unknown')
      })
    }

    it('refuses a request of a session without an Idempotency-Key', async () => {
      const { 'idempotency-key': _left, ...headers } = sessionRequest(session, { body })
      expectProblem(await scene().send({ body, headers }), 400, 'request.malformed')
    })

    it('opens no session for a key that the account did not grant, also not behind its refusal', async () => {
      const { send, facts, apiKey, purse } = scene()
      const draft = await drafted(scene(), { signer: new Wallet(Wallet.createRandom().privateKey) })
      expectProblem(await send({ path: '/v1/sessions', body: draft.body }), 403, 'credential.forbidden')
      // The id is a digest that anybody can compute.
      const { accountId, key, body: asked } = draft
      const value = { accountId, key, ephemeralKey: asked.ephemeralKey, expiresAt: asked.expiresAt }
      const theirs = openedSession(facts, draft, digestOf('InferenceEscrow', 'Session', escrowOf(facts), value))
      const [first] = await purse.meter.apiKeys()
      for (const [method, path] of [
        ['GET', '/v1/account'],
        ['GET', '/v1/statement'],
        ['GET', '/v1/keys'],
        ['DELETE', `/v1/keys/${String(first?.keyId)}`],
      ] as const) {
        expectProblem(await send({ method, path, headers: sessionRequest(theirs, { method, path }) }), 401, 'credential.unknown')
      }
      expectProblem(await send({ body, headers: sessionRequest(theirs, { body }) }), 401, 'credential.unknown')
      expect((await purse.meter.apiKeys()).find(({ keyId }) => apiKey.includes(String(keyId)))).toMatchObject({ revoked: false })
    })

    it('lets an API key neither list nor end the account’s other keys', async () => {
      const { send, apiKey, purse } = scene()
      const headers = { authorization: `Bearer ${apiKey}` }
      expectProblem(await send({ method: 'GET', path: '/v1/keys', headers }), 403, 'credential.forbidden')
      const others = (await purse.meter.apiKeys()).filter(({ keyId }) => !apiKey.includes(String(keyId)))
      expectProblem(
        await send({ method: 'DELETE', path: `/v1/keys/${String(others[0]?.keyId)}`, headers }),
        403,
        'credential.forbidden',
      )
    })

    it('asks for a credential where there is none', async () => {
      for (const path of ['/v1/account', '/v1/statement', '/v1/keys']) {
        expectProblem(await scene().send({ method: 'GET', path }), 401, 'credential.unknown')
      }
    })

    it('has charged nothing and left nothing reserved', async () => {
      await expectUntouched(scene().purse, before)
    })
  })
}
