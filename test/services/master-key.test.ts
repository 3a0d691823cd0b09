import { createCipheriv, hkdfSync, randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Wallet } from 'ethers'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { masterKeys } from '../../services/adapters/settings.ts'
import type { SealedLedger } from '../../services/core/selling-ledger.ts'
import { resealAll } from '../../services/gateway/resealing.ts'
import { openSeals } from '../../services/gateway/seals.ts'
import { openVault } from '../../services/gateway/vault.ts'
import { run } from '../edges/support/run.ts'
import { bearer } from '../edges/support/scene.ts'
import { type Counter, type Customer, masterKey, openCounter } from './support/counter.ts'

// A busy machine takes its time.
vi.setConfig({ testTimeout: 120_000 })

const OLD = masterKey('a1')
const NEW = masterKey('b2')
const KEYS = 7

describe('sealing', () => {
  it('opens with the key that sealed, for its context and secret only', () => {
    const seals = openSeals([OLD], 'test')
    const sealed = seals.seal(Buffer.from('bytes'), { context: 'one', secret: 'theirs' })
    expect(seals.open(sealed, { context: 'one', secret: 'theirs' }).toString()).toBe('bytes')
    const wrong = [{ context: 'two', secret: 'theirs' }, { context: 'one', secret: 'mine' }, { context: 'one' }]
    for (const of of wrong) expect(() => seals.open(sealed, of)).toThrow(expect.objectContaining({ code: 'credential.ended' }))
    const changed = Buffer.from(sealed)
    changed[changed.length - 1] = (changed.at(-1) ?? 0) ^ 1
    expect(() => seals.open(changed, { context: 'one', secret: 'theirs' })).toThrow()
    expect(() => openSeals([NEW], 'test').open(sealed, { context: 'one', secret: 'theirs' })).toThrow()
    expect(() => openSeals([OLD], 'other').open(sealed, { context: 'one', secret: 'theirs' })).toThrow()
    expect(openSeals([NEW, OLD], 'test').open(sealed, { context: 'one', secret: 'theirs' }).toString()).toBe('bytes')
  })

  it('opens what was sealed when keys were derived with Hmac objects', () => {
    const sealed = '0154cd6c2ddb7d3ba2fe27c31683789c9502b8144ad17af47bbc419f4d3c10a5d274b31f25282d95b163'
    const opened = openSeals([OLD], 'test').open(Buffer.from(sealed, 'hex'), { context: 'one', secret: 'their sécret' })
    expect(opened.toString()).toBe('as it was')
  })

  it('opens an escrow key that was sealed before keys had names', () => {
    const { privateKey, address } = Wallet.createRandom()
    const key = new Uint8Array(hkdfSync('sha256', OLD, new Uint8Array(0), 'granary/escrow-keys/1', 32))
    const iv = randomBytes(12)
    const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(Buffer.from('id'))
    const body = Buffer.concat([cipher.update(Buffer.from(privateKey.slice(2), 'hex')), cipher.final()])
    const sealed = Buffer.concat([iv, cipher.getAuthTag(), body]).toString('base64url')
    expect(openVault([NEW, OLD]).open(sealed, 'id').address).toBe(address)
    expect(() => openVault([NEW]).open(sealed, 'id')).toThrow(expect.objectContaining({ code: 'credential.ended' }))
  })
})

describe('the master key’s settings', () => {
  const dir = mkdtempSync(join(tmpdir(), 'granary-master-key-'))
  const file = (name: string, content: string) => {
    writeFileSync(join(dir, name), content)
    return join(dir, name)
  }
  afterAll(() => rmSync(dir, { recursive: true, force: true }))

  it('takes it from a file or the environment, and others from files', () => {
    const [first, second] = [file('first', `0x${OLD.toString('hex')}\n`), file('second', NEW.toString('hex'))]
    expect(masterKeys({ GRANARY_MASTER_KEY_FILE: first }).map(String)).toEqual([OLD].map(String))
    const mixed = { GRANARY_MASTER_KEY: NEW.toString('hex'), GRANARY_OTHER_MASTER_KEY_FILES: `${first},${second}` }
    expect(masterKeys(mixed).map(String)).toEqual([NEW, OLD, NEW].map(String))
  })

  it('refuses none, two, and what is no key, without showing it', () => {
    const bad = file('bad', 'deadbeef'.repeat(3))
    for (const env of [
      {},
      { GRANARY_MASTER_KEY: OLD.toString('hex'), GRANARY_MASTER_KEY_FILE: bad },
      { GRANARY_MASTER_KEY: 'deadbeef' },
      { GRANARY_MASTER_KEY_FILE: bad },
      { GRANARY_MASTER_KEY_FILE: join(dir, 'missing') },
    ]) {
      expect(() => masterKeys(env)).toThrow(
        expect.objectContaining({ code: 'config.invalid', message: expect.not.stringContaining('deadbeef') }),
      )
    }
  })
})

describe('replacing the master key', () => {
  let counter: Counter
  let payer: Customer
  const apiKeys: string[] = []
  beforeAll(async () => {
    counter = await openCounter({ masterKeys: [OLD] })
    payer = await counter.customer()
    for (let index = 0; index < KEYS; index++) apiKeys.push((await payer.apiKey()).apiKey)
  }, 120_000)
  afterAll(() => counter?.[Symbol.asyncDispose]())

  const buy = async (url: string, apiKey: string | undefined, idempotencyKey: string) => {
    const headers = { ...bearer(apiKey ?? ''), 'content-type': 'application/json', 'idempotency-key': idempotencyKey }
    const body = JSON.stringify({ model: 'mood', inputs: { text: idempotencyKey } })
    const reply = await fetch(`${url}/v1/infer`, { method: 'POST', headers, body })
    return { status: reply.status, json: (await reply.json()) as Record<string, unknown> }
  }

  it('goes on where an interrupted run ended, while gateways with both keys serve', async () => {
    const answered = await buy(counter.url, apiKeys[0], 'before')
    expect(answered.status).toBe(200)
    const interrupted: SealedLedger = { ...counter.ledger, resealKey: breaksAfter(3, counter.ledger) }
    await expect(resealAll(interrupted, [NEW, OLD])).rejects.toThrow('killed')
    await using both = await counter.beside({ masterKeys: [NEW, OLD] })
    await using older = await counter.beside({ masterKeys: [OLD, NEW] })
    for (const apiKey of apiKeys)
      for (const { url } of [both, older])
        expect((await buy(url, apiKey, `half ${apiKey} ${url}`.replaceAll(/[^a-z0-9]/g, '').slice(-90))).status).toBe(200)
    const runs = await Promise.all([resealAll(counter.ledger, [NEW, OLD]), resealAll(counter.ledger, [NEW, OLD])])
    expect(runs.reduce((sum, { escrowKeys }) => sum + escrowKeys.resealed, 0)).toBe(KEYS - 3)
    for (const { escrowKeys, answersLeft } of runs)
      expect({ failed: escrowKeys.failed, left: answersLeft > 0 }).toEqual({ failed: [], left: true })

    await using after = await counter.beside({ masterKeys: [NEW] })
    for (const [index, apiKey] of apiKeys.entries()) expect((await buy(after.url, apiKey, `after-${index}`)).status).toBe(200)
    expect(await buy(both.url, apiKeys[0], 'before')).toEqual(answered)
    expect(await buy(after.url, apiKeys[0], 'before')).toMatchObject({ status: 410, json: { code: 'answer.gone' } })
    // A key that has bought nothing yet: its first voucher has to be signed.
    const { apiKey: unused } = await payer.apiKey()
    expect((await resealAll(counter.ledger, [NEW, OLD])).escrowKeys).toEqual({ resealed: 1, current: KEYS, failed: [] })
    expect((await buy(counter.url, unused, 'old')).json.code).toBe('credential.ended')
    expect((await buy(after.url, unused, 'new')).status).toBe(200)
  })

  it('is a command that says what it did, and fails when a key opens with none of the master keys', async () => {
    const made = await payer.apiKey()
    const env = { DATABASE_URL: counter.databaseUrl, LOG_LEVEL: 'silent' }
    const wrong = await run(['scripts/reseal.ts'], { ...env, GRANARY_MASTER_KEY: NEW.toString('hex') })
    expect({ code: wrong.code, output: wrong.output }).toEqual({
      code: 1,
      output: expect.stringMatching(
        /^0 escrow keys sealed anew, 8 were already, 1 could not be opened\n0 deliveries [^\n]+\n\d+ stored answers/,
      ),
    })
    expect(wrong.errors).toContain(made.keyId)
    const dir = mkdtempSync(join(tmpdir(), 'granary-reseal-'))
    writeFileSync(join(dir, 'old'), OLD.toString('hex'))
    const files = { GRANARY_OTHER_MASTER_KEY_FILES: join(dir, 'old') }
    const right = await run(['scripts/reseal.ts'], { ...env, ...files, GRANARY_MASTER_KEY: NEW.toString('hex') })
    rmSync(dir, { recursive: true })
    expect(right.output).toMatch(/^1 escrow keys sealed anew, 8 were already, 0 could not be opened\n/)
    expect(right.code).toBe(0)
    for (const text of [wrong, right]) expect(`${text.output}${text.errors}`).not.toContain(NEW.toString('hex'))
  })
})

function breaksAfter(count: number, ledger: SealedLedger): SealedLedger['resealKey'] {
  let done = 0
  return async (keyId, change) => {
    if (done === count) throw new Error('killed')
    done += 1
    return ledger.resealKey(keyId, change)
  }
}
