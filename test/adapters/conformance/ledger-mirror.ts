import { expect, test } from 'vitest'
import type { ChainEvent, Head } from '../../../services/core/chain-records.ts'
import type { ModelManifest } from '../../../services/core/manifest.ts'
import type { Mirror } from '../../../services/core/mirror-ledger.ts'
import type { Ledger } from '../../../services/core/ports.ts'
import type { ApiKey } from '../../../services/core/selling-ledger.ts'
import { chargeOnce, fund, headAfter, hex, newAccount, order } from './ledger-acts.ts'

/** The indexer's face, and the API keys. `open` gives a ledger whose chain may be forgotten. */
export function ledgerMirror(open: () => Ledger): void {
  test('a rollback names the mirrors touched after it until they were read again, and the money follows the chain', async () => {
    const ledger = open()
    await ledger.forgetChain()
    expect(await ledger.cursor()).toBeNull()
    const account = newAccount()
    const heads = await chain(5)
    const dataset = (block: number, text: string): Mirror => ({ kind: 'dataset', id: '0xda', block, state: { text } })
    await apply(ledger, heads[0], [dataset(1, 'first')])
    await apply(ledger, heads[1], [accountMirror(account, 2, '100')])
    await apply(ledger, heads[2], [dataset(3, 'second')])
    await apply(ledger, heads[4], [accountMirror(account, 5, '700')])
    expect(await ledger.heads(2)).toEqual([heads[4], heads[2]])
    expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ deposit: 700n })

    const fork = { number: 2, hash: hex(32), parentHash: heads[0]?.hash ?? '', timestamp: 2 }
    const touched = [
      { kind: 'account', id: account.accountId },
      { kind: 'dataset', id: '0xda' },
    ]
    expect(sorted(await ledger.rollback(fork))).toEqual(touched)
    expect(await ledger.cursor()).toEqual(fork)
    // An indexer that was killed before it read them again asks once more.
    expect(sorted(await ledger.rollback(fork))).toEqual(touched)
    await apply(ledger, fork, [accountMirror(account, 2, '40'), { ...dataset(2, ''), state: null }])
    expect(await ledger.rollback(fork)).toEqual([])
    expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ deposit: 40n })
    expect(await ledger.mirror('dataset', '0xda')).toEqual({ kind: 'dataset', id: '0xda', block: 2, state: null })
    expect(await ledger.mirrors('dataset', 10)).toEqual([])
  })

  test('refuses blocks out of order', async () => {
    const ledger = open()
    const head = headAfter(await ledger.cursor())
    await apply(ledger, head, [])
    await expect(apply(ledger, { ...head, number: head.number - 1 }, [])).rejects.toMatchObject({ code: 'internal' })
    await expect(apply(ledger, { ...head, hash: hex(32) }, [])).rejects.toMatchObject({ code: 'internal' })
    await apply(ledger, head, [])
  })

  test('refuses blocks after another cursor than its own, and changes nothing', async () => {
    const ledger = open()
    const head = headAfter(await ledger.cursor())
    await apply(ledger, head, [])
    const next = { ...headAfter(head), parentHash: head.hash }
    for (const after of [null, { ...head, hash: hex(32) }])
      for (const mirrors of [[], [{ kind: 'dataset' as const, id: hex(32), block: next.number, state: {} }]])
        await expect(ledger.apply({ head: next, events: [], mirrors, after })).rejects.toMatchObject({ code: 'internal' })
    expect(await ledger.cursor()).toEqual(head)
    await ledger.apply({ head: next, events: [], mirrors: [], after: head })
    expect(await ledger.cursor()).toEqual(next)
    await ledger.forgetChain()
    await expect(ledger.apply({ head: headAfter(next), events: [], mirrors: [], after: next })).rejects.toMatchObject({
      code: 'internal',
    })
    await ledger.apply({ head, events: [], mirrors: [], after: null })
    expect(await ledger.cursor()).toEqual(head)
  })

  test('forgetting the chain and replaying it gives the same standing, and nothing is sold in between', async () => {
    const ledger = open()
    const account = await fund(ledger, newAccount(), { deposit: 100n, ceiling: 50n })
    const granted = await fund(ledger, { ...account, key: hex(20) }, { deposit: 100n, ceiling: 50n, cap: 20n })
    await chargeOnce(ledger, account, { charged: 5n })
    const before = [await ledger.standing(account.accountId, account.key), await ledger.standing(account.accountId, granted.key)]
    await ledger.forgetChain()
    expect(await ledger.reserve(order(account, { max: 1n }), 1000)).toEqual({ ok: false, reason: 'account-unknown' })
    expect(await ledger.standing(account.accountId, granted.key)).toBeNull()
    await fund(ledger, granted, { deposit: 100n, cap: 20n })
    expect([
      await ledger.standing(account.accountId, account.key),
      await ledger.standing(account.accountId, granted.key),
    ]).toEqual(before)
  })

  test('the catalog joins models, manifests and active offers, whatever bytes a name on chain holds', async () => {
    const ledger = open()
    await ledger.forgetChain()
    const [modelId, digest, provider] = [hex(32), hex(32), hex(20)]
    const offer = (id: string, active: boolean): Mirror => ({
      kind: 'offer',
      id: `${id}:${modelId}`,
      block: 1,
      state: { unitPrice: `${2n ** 80n - 1n}`, unit: 1, active },
    })
    const event: ChainEvent = {
      block: 1,
      blockHash: hex(32),
      transaction: hex(32),
      logIndex: 0,
      contract: 'ProviderRegistry',
      name: 'ProviderRegistered',
      args: { name: 'nul \0 and half \ud800', stake: 5n },
    }
    const mirrors: Mirror[] = [
      { kind: 'model', id: modelId, block: 1, state: { manifestDigest: digest, author: hex(20) } },
      { kind: 'provider', id: provider, block: 1, state: { name: 'nul \0', stake: 5n } },
      offer(provider, true),
      offer(hex(20), false),
    ]
    await ledger.apply({ head: headAfter(null), events: [event], mirrors })
    expect(await ledger.mirror('provider', provider)).toMatchObject({ state: { name: 'nul \ufffd', stake: '5' } })
    expect(await ledger.modelsWithoutManifest(10)).toEqual([{ modelId, manifestDigest: digest }])
    expect(await ledger.models()).toMatchObject([
      { modelId, manifest: null, offers: [{ provider, unitPrice: 2n ** 80n - 1n, unit: 1 }] },
    ])
    const manifest = { granary: 'model/1', name: 'a-model' } as ModelManifest
    await ledger.storeManifest(digest, manifest)
    expect(await ledger.modelsWithoutManifest(10)).toEqual([])
    expect(await ledger.models()).toMatchObject([{ modelId, manifest }])
  })

  test('an API key is found by its id, listed by its account, and stays known when revoked', async () => {
    const ledger = open()
    const accountId = hex(32)
    const keys: ApiKey[] = ['a', 'b'].map((label) => ({
      keyId: `${label}-${hex(4)}`,
      secretHash: hex(32),
      accountId,
      key: hex(20),
      sealedPrivateKey: hex(60),
      label,
      models: [hex(32)],
      purposes: [1, 2],
      jurisdictions: [58],
      createdAt: 7,
      endsAt: null,
      revoked: false,
    }))
    for (const key of keys) await ledger.addApiKey(key)
    expect(await ledger.apiKeys(accountId)).toEqual(keys)
    const [first] = keys
    await ledger.revokeApiKey(first?.keyId ?? '')
    expect(await ledger.apiKey(first?.keyId ?? '')).toEqual({ ...first, revoked: true })
    expect(await ledger.apiKey('unknown')).toBeNull()
    if (first) await expect(ledger.addApiKey(first)).rejects.toMatchObject({ code: 'credential.ended' })
  })
}

async function chain(length: number): Promise<Head[]> {
  const heads: Head[] = []
  for (let i = 0; i < length; i += 1) heads.push(headAfter(heads.at(-1) ?? null))
  return heads
}

function apply(ledger: Ledger, head: Head | undefined, mirrors: Mirror[]): Promise<void> {
  if (!head) throw new Error('no head')
  return ledger.apply({ head, events: [], mirrors })
}

function accountMirror({ accountId, config }: ReturnType<typeof newAccount>, block: number, deposit: string): Mirror {
  const state = { ...config, deposit, charged: '0', ownSpent: '0', thawing: '0', thawEndsAt: 0 }
  return { kind: 'account', id: accountId, block, state }
}

function sorted(mirrors: Pick<Mirror, 'kind' | 'id'>[]) {
  return mirrors.toSorted((a, b) => a.kind.localeCompare(b.kind))
}
