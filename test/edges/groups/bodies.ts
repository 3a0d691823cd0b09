import { beforeAll, describe, expect, it } from 'vitest'
import { expectUntouched, type Money } from '../support/purse.ts'
import { bearer, type Scene, spam } from '../support/scene.ts'
import { expectProblem, talk } from '../support/wire.ts'

const LIMIT_BYTES = 16 << 20

/** Bodies that are no requests, each with a good API key, so that nothing but the body stands between them and a charge. */
export function bodies(scene: () => Scene): void {
  describe('bodies that are none', () => {
    let before: Money
    beforeAll(async () => {
      before = await scene().purse.money()
    })

    const malformed: Record<string, string | Buffer> = {
      'half of a JSON text': '{"model":"spam-classifier","inputs":{"text":',
      'no JSON at all': 'model=spam-classifier&text=hi',
      nothing: '',
      null: 'null',
      'a number': '7',
      'a list': '[]',
      'JSON with a poisoned prototype': '{"model":"spam-classifier","inputs":{"text":"hi"},"__proto__":{"purpose":"research"}}',
      'JSON with a poisoned prototype inside': '{"model":"spam-classifier","inputs":{"text":"hi","__proto__":{"text":"ho"}}}',
      'JSON with a poisoned constructor': '{"model":"spam-classifier","constructor":{"prototype":{"inputs":{}}}}',
      'JSON nested 100,000 deep': `${'['.repeat(100_000)}${']'.repeat(100_000)}`,
      'bytes that are no UTF-8': Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d]),
      'a body with a field nobody knows': JSON.stringify({ ...spam('hi'), discount: 1 }),
      'a body without a model': '{"inputs":{"text":"hi"}}',
      'a body without inputs': '{"model":"spam-classifier"}',
      'a model name longer than any': JSON.stringify({ ...spam('hi'), model: 'x'.repeat(129) }),
      'a model that is no name': JSON.stringify({ ...spam('hi'), model: { $ne: null } }),
      'inputs that are no inputs': JSON.stringify({ ...spam('hi'), inputs: 'hi' }),
      'an empty list of inputs': JSON.stringify({ ...spam('hi'), inputs: [] }),
    }
    for (const [what, body] of Object.entries(malformed)) {
      it(`refuses ${what} as request.malformed`, async () => {
        const { send, apiKey } = scene()
        expectProblem(await send({ body, headers: bearer(apiKey) }), 400, 'request.malformed')
      })
    }

    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/octet-stream', 'nonsense', '']) {
      it(`refuses a body of content type "${type}" as request.malformed`, async () => {
        const { send, apiKey } = scene()
        const reply = await send({ body: spam('hi'), headers: { ...bearer(apiKey), 'content-type': type } })
        expectProblem(reply, 400, 'request.malformed')
      })
    }

    it('refuses a body past the limit as request.too-large, whether it says its size or not', async () => {
      const { send, apiKey } = scene()
      const headers = bearer(apiKey)
      const said = await send({ body: ' ', headers: { ...headers, 'content-length': String(LIMIT_BYTES + 1) } })
      expectProblem(said, 413, 'request.too-large')
      // Not one byte more than the limit needs, or the server would hang up on what it has not read.
      const size = LIMIT_BYTES + 1
      const head = ['POST /v1/infer HTTP/1.1', 'host: x', 'content-type: application/json', 'transfer-encoding: chunked']
      const text = `${head.join('\r\n')}\r\n\r\n${size.toString(16)}\r\n${' '.repeat(size)}`
      const unsaid = await talk(scene().stage.gatewayUrl, text)
      expect(unsaid).toMatch(/^HTTP\/1\.1 413 /)
      expect(unsaid).toContain('"code":"request.too-large"')
    })

    it('answers an unknown route with route.unknown', async () => {
      const { send } = scene()
      expectProblem(await send({ method: 'GET', path: '/v2/infer' }), 404, 'route.unknown')
      expectProblem(await send({ path: '/v1/inferences', body: spam('hi') }), 404, 'route.unknown')
    })

    for (const path of ['/v1/models/%E0%A4%A', '/%zz', `/v1/models/${'x'.repeat(201)}`]) {
      it(`refuses the unreadable path ${path.slice(0, 24)} as request.malformed`, async () => {
        expectProblem(await scene().send({ method: 'GET', path }), 400, 'request.malformed')
      })
    }

    it('refuses bytes that are no HTTP as request.malformed', async () => {
      const answer = await talk(scene().stage.gatewayUrl, 'EHLO granary\r\n\r\n')
      expect(answer).toMatch(/^HTTP\/1\.1 400 /)
      expect(JSON.parse(answer.split('\r\n\r\n')[1] ?? '')).toMatchObject({ code: 'request.malformed', status: 400 })
    })

    it('answers for what does not exist with what is missing', async () => {
      const { send } = scene()
      expectProblem(await send({ method: 'GET', path: '/v1/models/nobody' }), 404, 'model.unknown')
      expectProblem(await send({ method: 'GET', path: '/v1/models/%00' }), 404, 'model.unknown')
      for (const id of [`0x${'ab'.repeat(32)}`, 'nonsense', '%00']) {
        expectProblem(await send({ method: 'GET', path: `/v1/datasets/${id}` }), 404, 'dataset.unknown')
      }
    })

    it('has charged nothing and left nothing reserved', async () => {
      await expectUntouched(scene().purse, before)
      expect(before.reserved).toBe(0n)
    })
  })
}
