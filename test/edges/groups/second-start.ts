import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { startCooperative } from '../../../scripts/local/cooperative.ts'
import { openLog } from '../../../services/adapters/log.ts'
import { run } from '../support/run.ts'
import type { Scene } from '../support/scene.ts'

/** Starts that cannot be, beside one that runs. */
export function secondStart(scene: () => Scene): void {
  describe('a second start', () => {
    const log = openLog({ process: 'second-start', level: 'fatal' })
    const gatewayPort = () => Number(new URL(scene().stage.gatewayUrl).port)

    it('in the same folder is refused with start.already-running, and names the first one’s gateway', async () => {
      const { stage, send } = scene()
      const refused = await startCooperative({ dir: stage.dir, port: 0, log }).catch((error: unknown) => error)
      expect(refused).toMatchObject({ code: 'start.already-running', evidence: { pid: process.pid } })
      expect(String(refused)).toContain(stage.gatewayUrl)
      expect((await send({ method: 'GET', path: '/v1/health' })).json.ready).toBe(true)
    })

    it('on a port that is taken is refused with start.port-in-use, and leaves nothing running', async () => {
      const dir = mkdtempSync(join(tmpdir(), 'granary-second-'))
      const { code, errors } = await run(['scripts/start.ts'], { GRANARY_DIR: dir, PORT: String(gatewayPort()) })
      rmSync(dir, { recursive: true, force: true })
      expect(code).toBe(1)
      expect(errors).toContain(`start.port-in-use: Port ${gatewayPort()} is in use`)
      expect(errors).toContain('PORT')
      expect(errors).not.toMatch(/^\s+at /m)
    })
  })
}
