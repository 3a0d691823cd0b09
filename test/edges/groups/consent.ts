import { beforeAll, describe, expect, it } from 'vitest'
import { expectUntouched, type Money } from '../support/purse.ts'
import { bearer, type Scene, spam } from '../support/scene.ts'
import { expectProblem } from '../support/wire.ts'

/** What is not sold, not meant, or not permitted; with a good API key. */
export function consent(scene: () => Scene): void {
  describe('uses that nobody permits', () => {
    let before: Money
    const infer = (fields: object) => scene().send({ body: { ...spam('hi'), ...fields }, headers: bearer(scene().apiKey) })
    beforeAll(async () => {
      before = await scene().purse.money()
    })

    for (const model of ['nobody', '__proto__', `0x${'00'.repeat(32)}`, 'spam-classifier\u0000', ' spam-classifier']) {
      it(`answers the model ${JSON.stringify(model)} with model.unknown`, async () => {
        expectProblem(await infer({ model }), 404, 'model.unknown')
      })
    }

    for (const purpose of ['world-domination', '', 'toString', 'Research']) {
      it(`answers the purpose "${purpose}" with purpose.unknown`, async () => {
        expect(expectProblem(await infer({ purpose }), 400, 'purpose.unknown').purposes).toContain('research')
      })
    }

    for (const purpose of ['surveillance', 'advertising', 'healthcare']) {
      it(`refuses ${purpose}, which the terms do not grant, with the reason`, async () => {
        const problem = expectProblem(await infer({ purpose }), 451, 'consent.refused')
        expect(problem).toMatchObject({ reason: 'purpose-not-granted', block: expect.any(Number) })
        expect(problem.because).toMatch(/^0x[0-9a-f]{64}$/)
      })
    }

    it('says so to the unpaid as well, rather than asking for money', async () => {
      expectProblem(await scene().send({ body: { ...spam('hi'), purpose: 'surveillance' } }), 451, 'consent.refused')
    })

    for (const jurisdiction of ['XX', 'de', 'DEU', '', 'D1']) {
      it(`refuses the country code "${jurisdiction}"`, async () => {
        expectProblem(await infer({ jurisdiction }), 400, 'request.malformed')
      })
    }

    it('has charged nothing and left nothing reserved', async () => {
      await expectUntouched(scene().purse, before)
    })
  })
}
