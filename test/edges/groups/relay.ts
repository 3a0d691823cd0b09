import { ZeroHash } from 'ethers'
import { beforeAll, describe, expect, it } from 'vitest'
import { DOLLAR, expectUntouched, type Money } from '../support/purse.ts'
import type { Scene } from '../support/scene.ts'
import { expectProblem } from '../support/wire.ts'

const SIGNATURE = `0x${'11'.repeat(64)}1b`
const CONTENT_LIMIT_BYTES = 64 << 20
/** Of bytes that nobody has put anywhere. */
const UNKNOWN_CID = 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'

/** Acts by signature that are not signed so, and bytes that are not there. */
export function relay(scene: () => Scene): void {
  describe('relayed acts and content', () => {
    let before: Money
    const post = (path: string, body: unknown) => scene().send({ path, body })
    const act = (contract: string, method: string, args: unknown[]) => post('/v1/relay', { contract, method, args })
    beforeAll(async () => {
      before = await scene().purse.money()
    })

    for (const [contract, method] of [
      ['InferenceEscrow', 'settleBatch'],
      ['Token', 'mint'],
      ['ModelRegistry', 'suspend'],
      ['Nothing', 'withdrawBySig'],
      ['constructor', 'name'],
      ['__proto__', 'toString'],
      ['DatasetRegistry', 'withdraw'],
    ] as const) {
      it(`does not relay ${contract}.${method}`, async () => {
        const problem = expectProblem(await act(contract, method, []), 400, 'relay.refused')
        expect(problem.relayable).toMatchObject({ DatasetRegistry: expect.arrayContaining(['withdrawBySig']) })
      })
    }

    it('refuses arguments that the act does not take', async () => {
      const payer = scene().purse.person.address
      for (const args of [
        [],
        [ZeroHash],
        ['nonsense', payer, SIGNATURE],
        [ZeroHash, 7, SIGNATURE],
        [{}, {}, {}],
        [ZeroHash, payer, SIGNATURE, 1],
      ]) {
        expectProblem(await act('DatasetRegistry', 'withdrawBySig', args), 400, 'relay.refused')
      }
    })

    it('refuses a bad signature with the contract’s own error', async () => {
      const get = async (path: string) => (await scene().send({ method: 'GET', path })).json
      const [first] = (await get('/v1/models/spam-classifier')).lineage as { id: string }[]
      const { owner } = await get(`/v1/datasets/${first?.id}`)
      const problem = expectProblem(
        await act('DatasetRegistry', 'withdrawBySig', [first?.id, owner, SIGNATURE]),
        400,
        'relay.refused',
      )
      expect(problem).toMatchObject({ contract: 'DatasetRegistry', error: expect.stringMatching(/^Dataset/) })
    })

    it('refuses a deposit that the payer did not sign, and takes nothing', async () => {
      const { purse, stage } = scene()
      await stage.world.giveDollars(purse.person, DOLLAR)
      const validBefore = String((await stage.world.timestamp()) + 3600)
      const body = { account: purse.config, amount: '1000', validAfter: '0', validBefore, salt: ZeroHash, signature: SIGNATURE }
      const problem = expectProblem(await post('/v1/deposits', body), 400, 'relay.refused')
      expect(problem.error).toEqual(expect.any(String))
      expect(await stage.world.balanceOf(purse.person.address)).toBe(DOLLAR)
    })

    it('refuses deposits that are none', async () => {
      const { purse } = scene()
      const good = { account: purse.config, amount: '1', validAfter: '0', validBefore: '1', salt: ZeroHash, signature: SIGNATURE }
      const elsewhere = { ...purse.config, collector: `0x${'22'.repeat(20)}` }
      for (const wrong of [{ amount: '-1' }, { amount: '1.5' }, { amount: 1 }, { account: elsewhere }, { salt: '0x' }]) {
        expectProblem(await post('/v1/deposits', { ...good, ...wrong }), 400, 'request.malformed')
      }
    })

    it('makes no API key without the payer’s grant', async () => {
      const { purse, send } = scene()
      const terms = { account: purse.config, cap: '1000', notAfter: 2 ** 33, nonce: 1, signature: SIGNATURE, label: 'x' }
      const grant = { ...terms, models: [], purposes: [] }
      const { key, offer } = (await send({ path: '/v1/keys/offer', body: {} })).json
      const other = (await send({ path: '/v1/keys/offer', body: {} })).json
      for (const wrong of [
        { key: `0x${'44'.repeat(20)}`, offer },
        { key, offer: other.offer },
        { key, offer: 'none' },
      ])
        expectProblem(await post('/v1/keys', { ...grant, ...wrong }), 401, 'credential.unknown')
      const offered = { ...grant, key, offer }
      expectProblem(await post('/v1/keys', { ...grant, key }), 400, 'request.malformed')
      expectProblem(await post('/v1/keys', offered), 400, 'relay.refused')
      expectProblem(await post('/v1/keys', { ...offered, purposes: ['world-domination'] }), 400, 'purpose.unknown')
      expectProblem(await post('/v1/keys', { ...offered, label: 'a\u0000b' }), 400, 'request.malformed')
    })

    it('refuses content past the limit, none at all, and what is no plain bytes', async () => {
      const { send } = scene()
      const put = (headers: Record<string, string>, body: unknown) => send({ path: '/v1/content', headers, body })
      const bytes = { 'content-type': 'application/octet-stream' }
      const tooLarge = await put({ ...bytes, 'content-length': String(CONTENT_LIMIT_BYTES + 1) }, 'x')
      expectProblem(tooLarge, 413, 'request.too-large')
      expectProblem(await put(bytes, ''), 400, 'request.malformed')
      expectProblem(await put({}, { not: 'bytes' }), 400, 'request.malformed')
    })

    it('answers for bytes that nobody has, and names that are no CID', async () => {
      const { send } = scene()
      expectProblem(await send({ method: 'GET', path: `/v1/content/${UNKNOWN_CID}` }), 404, 'content.not-found')
      for (const cid of ['nonsense', '%2e%2e%2f%2e%2e%2fetc%2fpasswd', '%00', `${UNKNOWN_CID}x`]) {
        const reply = await send({ method: 'GET', path: `/v1/content/${cid}` })
        expect([400, 404]).toContain(reply.status)
        expectProblem(reply, reply.status, reply.json.code as 'content.not-found')
      }
    })

    it('has charged nothing and left nothing reserved', async () => {
      await expectUntouched(scene().purse, before)
    })
  })
}
