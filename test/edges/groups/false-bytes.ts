import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { sileroVad } from '../../../scripts/models/catalog.ts'
import { until } from '../../../scripts/story/world.ts'
import { purposesMask } from '../../../services/core/consent.ts'
import { digestOfBytes, type ModelManifest } from '../../../services/core/manifest.ts'
import { unitIndex } from '../../../services/core/metering.ts'
import { untilLogged } from '../support/patience.ts'
import { expectUntouched, type Money } from '../support/purse.ts'
import { bearer, type Scene } from '../support/scene.ts'
import { expectProblem } from '../support/wire.ts'

/** Bytes that are not what their digest or CID says. */
export function falseBytes(scene: () => Scene): void {
  describe('bytes that do not match', () => {
    let before: Money
    beforeAll(async () => {
      before = await scene().purse.money()
    })

    it('never serves a model whose CID names other bytes than were registered', async () => {
      const { stage, send, apiKey, purse } = scene()
      const operator = await stage.world.person('operator', stage.cooperative.keys.operator.key)
      const author = await stage.world.person('forger')
      const described = (await send({ method: 'GET', path: '/v1/models/silero-vad' })).json.manifest as ModelManifest
      const { onnx } = sileroVad()
      const other = Buffer.from(onnx.bytes)
      other.writeUInt8(other.readUInt8(other.length - 1) ^ 1, other.length - 1)
      const manifest: ModelManifest = {
        ...described,
        name: 'forged-vad',
        onnx: {
          name: onnx.name,
          cid: await author.granary.context.put(other),
          sha256: digestOfBytes(onnx.bytes),
          sizeBytes: other.length,
        },
      }
      const purposes = purposesMask(['research', 'commercial-service'])
      const shares = { datasets: [], parents: [], purposes, authorPpm: 0, derivativePpm: 0 }
      const { modelId } = await author.granary.derive.register({ manifest, ...shares })
      await operator.granary.provide.offer({ modelId, unit: unitIndex(manifest.unit), unitPrice: 1n })
      await until(
        'the model to be listed',
        async () => (await send({ method: 'GET', path: '/v1/models/forged-vad' })).status === 200,
        30_000,
      )
      const refusal = await untilLogged(
        stage.dir,
        'provider',
        (line) => line.event === 'model.not-loaded' && line.modelId === modelId,
      )
      expect(refusal.error).toMatchObject({ code: 'content.mismatch' })
      const body = { model: 'forged-vad', inputs: { audio: [0, 0.5, -0.5, 0] } }
      for (const headers of [bearer(apiKey), {}]) expectProblem(await send({ body, headers }), 503, 'provider.none')
      expect((await send({ method: 'GET', path: '/v1/models/forged-vad' })).json.servedBy).toEqual([])
      await expectUntouched(purse, before)
    })

    it('gives out no block that was changed on the disk', async () => {
      const { stage, send } = scene()
      const bytes = Buffer.from(`only here: ${crypto.randomUUID()}`)
      const headers = { 'content-type': 'application/octet-stream' }
      const { cid } = (await send({ path: '/v1/content', body: bytes, headers })).json
      const get = () => send({ method: 'GET', path: `/v1/content/${String(cid)}` })
      expect((await get()).bytes.equals(bytes)).toBe(true)
      const blocks = join(stage.dir, 'content', 'gateway', 'blocks')
      const files = readdirSync(blocks, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
      const paths = files.map(({ parentPath, name }) => join(parentPath, name))
      const [path = '', ...others] = paths.filter((block) => readFileSync(block).equals(bytes))
      expect(others).toEqual([])
      writeFileSync(path, Buffer.concat([bytes.subarray(1), Buffer.from('!')]))
      expectProblem(await get(), 502, 'content.mismatch')
      // The damaged block is gone, and nobody else has it.
      expectProblem(await get(), 404, 'content.not-found')
    })
  })
}
