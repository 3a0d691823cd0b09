import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { getAddress } from 'ethers'
import { afterAll, describe, expect, it } from 'vitest'
import type { Chain } from '../../services/core/ports.ts'
import { readConfig } from '../../services/provider/config.ts'
import { OfferBook } from '../../services/provider/offers.ts'

const sessionKey = `0x${'5e'.repeat(20)}`
const operator = `0x${'0b'.repeat(20)}`
const stranger = `0x${'ba'.repeat(20)}`
const modelId = `0x${'0d'.repeat(32)}`

const folder = mkdtempSync(join(tmpdir(), 'granary-offers-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Enough for a worker to start. */
function settings(): Record<string, string> {
  const [deployment, key] = [join(folder, 'deployment.json'), join(folder, 'key')]
  writeFileSync(deployment, JSON.stringify({ chainId: 31_337, token: stranger, contracts: {}, deployBlock: 1 }))
  writeFileSync(key, `0x${'11'.repeat(32)}`)
  return {
    GRANARY_RPC_URL: 'http://127.0.0.1:1',
    GRANARY_DEPLOYMENT: deployment,
    GRANARY_GATEWAY_URL: 'http://127.0.0.1:1',
    GRANARY_CONTENT_DIR: folder,
    GRANARY_KEY_FILE: key,
  }
}

/** On which somebody has named the session key, and offers one model. */
function chainWhereNamedBy(namer: string): Chain {
  const offered = { contract: 'ProviderRegistry', name: 'OfferSet', args: { operator: namer, modelId } }
  return {
    head: async () => ({ number: 7 }),
    events: async () => [offered],
    read: async ({ method }: { method: string }) => (method === 'operatorOf' ? namer : { active: true, unit: 0n, unitPrice: 1n }),
  } as unknown as Chain
}

async function workingFor(namer: string, worksFor: string | null): Promise<{ operator: string | null; offers: number }> {
  const book = new OfferBook({ chain: chainWhereNamedBy(namer), sessionKey, deployBlock: 0, worksFor })
  await book.refresh()
  return { operator: book.operator, offers: book.active().length }
}

describe('a worker whose session key somebody else named first', () => {
  it('works for nobody when it was told its operator', async () => {
    expect(await workingFor(stranger, operator)).toEqual({ operator: null, offers: 0 })
    expect(await workingFor(operator, operator)).toEqual({ operator, offers: 1 })
  })

  it('works for that one when it was not', async () => {
    expect(await workingFor(stranger, null)).toEqual({ operator: stranger, offers: 1 })
  })

  it('is told its operator by an address or not at all', () => {
    expect(readConfig(settings()).worksFor).toBeNull()
    expect(readConfig({ ...settings(), GRANARY_OPERATOR: getAddress(operator) }).worksFor).toBe(operator)
    expect(() => readConfig({ ...settings(), GRANARY_OPERATOR: 'northern-gpus' })).toThrow(/GRANARY_OPERATOR must be an address/)
  })
})
