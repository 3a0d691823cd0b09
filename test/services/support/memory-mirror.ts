import type { ChainEvent, Head } from '../../../services/core/chain-records.ts'
import type { ModelManifest } from '../../../services/core/manifest.ts'
import type { Mirror } from '../../../services/core/mirror-ledger.ts'
import type { AccountConfig } from '../../../services/core/selling-ledger.ts'
import type { IndexedLedger } from '../../../services/indexer/touched.ts'

/** The mirror face of a ledger, kept in memory: what an indexer process finds when it starts again. */
export interface MemoryMirror extends IndexedLedger {
  events: ChainEvent[]
  manifests: Map<string, ModelManifest>
}

export function openMemoryMirror(): MemoryMirror {
  let heads: Head[] = []
  const mirrors = new Map<string, Mirror>()
  const stale = new Set<string>()
  const configs = new Map<string, AccountConfig>()
  const keyOf = ({ kind, id }: Pick<Mirror, 'kind' | 'id'>) => `${kind} ${id}`
  const ledger: MemoryMirror = {
    events: [],
    manifests: new Map(),
    account: async (accountId) => configs.get(accountId) ?? null,
    cursor: async () => heads.at(-1) ?? null,
    heads: async (limit) => heads.toReversed().slice(0, limit),
    async apply({ head, events, mirrors: changed, after }) {
      const last = heads.at(-1)
      const isOther = after !== undefined && after?.hash !== last?.hash
      if (isOther || (last && (head.number < last.number || (head.number === last.number && head.hash !== last.hash))))
        throw new Error('out of order')
      heads = [...heads.filter(({ number }) => number !== head.number), head]
      ledger.events.push(...events)
      for (const mirror of changed) {
        JSON.stringify(mirror)
        mirrors.set(keyOf(mirror), mirror)
        stale.delete(keyOf(mirror))
      }
    },
    async rollback(to) {
      heads = heads.filter(({ number }) => number <= to.number)
      ledger.events = ledger.events.filter(({ block }) => block <= to.number)
      for (const mirror of mirrors.values()) if (mirror.block > to.number) stale.add(keyOf(mirror))
      return [...mirrors.values()].filter((mirror) => stale.has(keyOf(mirror))).map(({ kind, id }) => ({ kind, id }))
    },
    async forgetChain() {
      heads = []
      ledger.events = []
      mirrors.clear()
      stale.clear()
    },
    async storeManifest(digest, manifest) {
      ledger.manifests.set(digest, manifest)
    },
    async modelsWithoutManifest(limit) {
      return [...mirrors.values()]
        .filter(({ kind, state }) => kind === 'model' && state !== null)
        .map(({ id, state }) => ({ modelId: id, manifestDigest: String(state?.manifestDigest) }))
        .filter(({ manifestDigest }) => !ledger.manifests.has(manifestDigest))
        .slice(0, limit)
    },
    models: async () => [],
    mirror: async (kind, id) => mirrors.get(keyOf({ kind, id })) ?? null,
    mirrors: async (kind, limit) => [...mirrors.values()].filter((mirror) => mirror.kind === kind).slice(0, limit),
  }
  return ledger
}
