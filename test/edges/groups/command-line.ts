import { describe, expect, it } from 'vitest'
import { run } from '../support/run.ts'
import type { Scene } from '../support/scene.ts'

/** What the command line says to people: one line with a code and what to do. */
export function commandLine(scene: () => Scene): void {
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
