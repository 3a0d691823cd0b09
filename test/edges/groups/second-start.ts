import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { startCooperative } from '../../../scripts/local/cooperative.ts'
import { openLog } from '../../../services/adapters/log.ts'
import type { Scene } from '../support/scene.ts'

const root = resolve(import.meta.dirname, '..', '..', '..')

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
      const started = run(['scripts/start.ts'], { GRANARY_DIR: dir, PORT: String(gatewayPort()) })
      const { code, errors } = await started
      rmSync(dir, { recursive: true, force: true })
      expect(code).toBe(1)
      expect(errors).toContain(`start.port-in-use: Port ${gatewayPort()} is in use`)
      expect(errors).toContain('PORT')
      expect(errors).not.toMatch(/^\s+at /m)
    })
  })

  describe('the command line', () => {
    const cli = (...args: string[]) =>
      run(['services/cli/main.ts', ...args, '--gateway', scene().stage.gatewayUrl], { GRANARY_DIR: scene().stage.dir })
    const oneLine = (errors: string, code: string) => {
      expect(errors).toMatch(new RegExp(`^${code}: [^\\n]{20,}\\n$`))
      expect(errors).not.toContain('undefined')
    }
    const keyFile = () => scene().stage.cooperative.keys.operator.path

    const refusals: Record<string, { args: () => string[]; code: string; hint: string }> = {
      'an unknown command': { args: () => ['frobnicate', 'now'], code: 'request.malformed', hint: 'granary --help' },
      'a command of an inherited name': { args: () => ['constructor'], code: 'request.malformed', hint: 'granary --help' },
      'an unknown flag': { args: () => ['model', 'list', '--nope'], code: 'request.malformed', hint: 'granary --help' },
      'a missing key file': {
        args: () => ['account', 'show', '--key-file', '/nowhere/to/be.key'],
        code: 'config.invalid',
        hint: '/nowhere/to/be.key holds no private key',
      },
      'an amount that is none': {
        args: () => ['account', 'deposit', 'ten', '--key-file', keyFile()],
        code: 'request.malformed',
        hint: 'at most six decimals',
      },
      'an amount finer than the token': {
        args: () => ['account', 'deposit', '0.0000001', '--key-file', keyFile()],
        code: 'request.malformed',
        hint: 'at most six decimals',
      },
      'a missing amount': {
        args: () => ['account', 'deposit', '--key-file', keyFile()],
        code: 'request.malformed',
        hint: 'DOLLARS',
      },
      'a proposal that is no number': {
        args: () => ['govern', 'vote', 'first', 'for', '--key-file', keyFile()],
        code: 'request.malformed',
        hint: 'whole number',
      },
      'a model that nobody sells': {
        args: () => ['infer', 'nobody', '--input', 'text=hi', '--key-file', keyFile()],
        code: 'model.unknown',
        hint: '/v1/models',
      },
    }
    for (const [what, { args, code, hint }] of Object.entries(refusals)) {
      it(`answers ${what} with one line and exit code 1`, async () => {
        const { code: exitCode, errors, output } = await cli(...args())
        expect({ exitCode, output }).toEqual({ exitCode: 1, output: '' })
        oneLine(errors, code)
        expect(errors).toContain(hint)
      })
    }

    it('answers a gateway that is not there with one line and exit code 1', async () => {
      const { code, errors } = await run(['services/cli/main.ts', 'model', 'list', '--gateway', 'http://127.0.0.1:1'], {})
      expect(code).toBe(1)
      oneLine(errors, 'gateway.unreachable')
    })
  })
}

/** A program of this repository, to its end. */
function run(args: string[], env: Record<string, string>): Promise<{ code: number | null; output: string; errors: string }> {
  const child = spawn(process.execPath, args, { cwd: root, env: { ...process.env, ...env }, timeout: 60_000 })
  let output = ''
  let errors = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text
  })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve({ code, output, errors }))
  })
}
