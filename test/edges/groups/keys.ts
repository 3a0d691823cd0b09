import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { formatDollars } from '../../../services/core/money.ts'
import { DOLLAR, openPurse, type Purse } from '../support/purse.ts'
import { run } from '../support/run.ts'
import { bearer, type Scene, SPAM_PRICE, spam, untilAccepted } from '../support/scene.ts'
import { expectProblem } from '../support/wire.ts'

/** The life of an API key from the command line, on a real chain: nothing but a wallet and a gateway's URL. */
export function keys(scene: () => Scene): void {
  describe('the life of an API key', () => {
    const dir = mkdtempSync(join(tmpdir(), 'granary-keys-'))
    const keyFile = join(dir, 'wallet.key')
    let purse: Purse
    let made: { apiKey: string; keyId: string; key: string }
    beforeAll(async () => {
      purse = await openPurse(scene().stage.world, 5n * DOLLAR)
      writeFileSync(keyFile, purse.person.wallet.privateKey, { mode: 0o600 })
    }, 120_000)
    afterAll(() => rmSync(dir, { recursive: true, force: true }))

    const cli = async (args: string[], env: Record<string, string> = { GRANARY_KEY_FILE: keyFile }) => {
      const { stage } = scene()
      const all = ['services/cli/main.ts', ...args, '--gateway', stage.gatewayUrl]
      const { code, output, errors } = await run(all, { GRANARY_DIR: stage.dir, ...env })
      expect({ code, errors }).toEqual({ code: 0, errors: '' })
      return output
    }
    const json = async <T>(...args: string[]) => JSON.parse(await cli([...args, '--json'])) as T

    it('is made with a cap, a scope and limits', async () => {
      const scope = ['--models', 'spam-classifier', '--purposes', 'research,commercial-service', '--jurisdictions', 'DE']
      const limits = ['--per-day', formatDollars(4n * SPAM_PRICE), '--parallel', '8']
      made = await json('account', 'key', '--cap', '1', '--label', 'laptop', ...scope, ...limits)
      await untilAccepted(scene(), made.apiKey, { ...spam('hello'), jurisdiction: 'DE' })
      expectProblem(await scene().send({ body: spam('no place'), headers: bearer(made.apiKey) }), 403, 'credential.forbidden')
      expect(await cli(['account', 'keys'])).toContain(`${made.keyId}  laptop`)
    })

    it('serves a client that nobody here wrote', async () => {
      const client = new OpenAI({ apiKey: made.apiKey, baseURL: `${scene().stage.gatewayUrl}/v1`, maxRetries: 0 })
      const names: string[] = []
      for await (const { id } of client.models.list()) names.push(id)
      expect(names).toContain('spam-classifier')
      const body = { ...spam('by a client'), jurisdiction: 'DE' }
      expect(await client.post<{ charged: string }>('/infer', { body })).toMatchObject({ charged: SPAM_PRICE.toString() })
      const none = client.embeddings.create({ model: 'spam-classifier', input: 'x' })
      await expect(none).rejects.toMatchObject({ status: 400, code: 'input.invalid' })
    })

    it('is given a new secret, and goes on under the same budget', async () => {
      const next = await json<typeof made>('account', 'rotate', made.keyId)
      const body = { ...spam('rotated'), jurisdiction: 'DE' }
      expectProblem(await scene().send({ body, headers: bearer(made.apiKey) }), 401, 'credential.ended')
      for (let left = 2; left > 0; left--) expect((await scene().send({ body, headers: bearer(next.apiKey) })).status).toBe(200)
      const refused = expectProblem(await scene().send({ body, headers: bearer(next.apiKey) }), 402, 'budget.exhausted')
      expect(refused).toMatchObject({ limit: 'budgetPerDay', used: (4n * SPAM_PRICE).toString() })
      expect(Number(refused.resetsAt)).toBeGreaterThan(await scene().stage.world.timestamp())
      expect(await cli(['account', 'limit', next.keyId])).toMatch(/budgetPerDay +-/)
      expect((await scene().send({ body, headers: bearer(next.apiKey) })).status).toBe(200)
      made = next
    })

    it('is in the books of its account, and its holder sees its own part', async () => {
      const spent = 5n * SPAM_PRICE
      const csv = await cli(['account', 'usage', '--csv'])
      expect(csv).toMatch(new RegExp(`,laptop,spam-classifier,0x[0-9a-f]{64},5,5,${spent},`))
      const html = await cli(['account', 'bill', '--html'])
      expect(html).toContain(`${formatDollars(spent)}</td></tr></tfoot>`)
      const holder = { GRANARY_API_KEY: made.apiKey }
      expect(await cli(['account', 'bill'], holder)).toContain(`Only the key: ${made.key}`)
      const standing = await scene().stage.world.read<{ charged: bigint }>('InferenceEscrow', 'balance', purse.accountId)
      expect(standing.charged).toBeLessThanOrEqual(spent)
      expect((await purse.money()).charged).toBe(spent)
    })

    it('is revoked here at once, and its escrow key on chain', async () => {
      expect(await cli(['account', 'revoke', made.keyId])).toContain('on chain')
      const body = { ...spam('revoked'), jurisdiction: 'DE' }
      expectProblem(await scene().send({ body, headers: bearer(made.apiKey) }), 401, 'credential.ended')
      const granted = await scene().stage.world.read<{ revokedAt: bigint }>('InferenceEscrow', 'key', purse.accountId, made.key)
      expect(granted.revokedAt).toBeGreaterThan(0n)
    })

    it('has left no secret in any log', () => {
      for (const name of ['gateway', 'indexer', 'settler', 'provider']) {
        const log = readFileSync(join(scene().stage.dir, 'logs', `${name}.log`), 'utf8')
        for (const secret of [made.apiKey, made.apiKey.split('_')[2] ?? 'none', purse.person.wallet.privateKey.slice(2)])
          expect(log).not.toContain(secret)
      }
    })
  })
}
