import type { Ledger } from '../core/ports.ts'
import type { ApiKey } from '../core/selling-ledger.ts'

/**
 * API keys as the ledger has them, each read at most once in `maxAgeMs`: within that time a key that another gateway has revoked
 * or replaced still works here. What this gateway ends is forgotten at once.
 */
export interface ApiKeyBook {
  find(keyId: string): Promise<ApiKey | null>
  /** After the ledger was changed; also of no effect is what was being read meanwhile. */
  forget(keyId: string): void
}

const MAX_AGE_MS = 1000
const MOST = 10_000

interface Read {
  key: Promise<ApiKey | null>
  startedMs: number
}

export function openApiKeyBook(options: {
  ledger: Pick<Ledger, 'apiKey'>
  maxAgeMs?: number
  most?: number
  /** Monotonic. */
  clockMs?: () => number
}): ApiKeyBook {
  const { ledger, maxAgeMs = MAX_AGE_MS, most = MOST, clockMs = () => performance.now() } = options
  const reads = new Map<string, Read>()

  function read(keyId: string, startedMs: number): Promise<ApiKey | null> {
    const started: Read = { key: ledger.apiKey(keyId), startedMs }
    const drop = () => {
      if (reads.get(keyId) === started) reads.delete(keyId)
    }
    // Ids that are none take no room, however many are tried, and a failure is nothing to keep.
    started.key.then((key) => key === null && drop(), drop)
    reads.delete(keyId)
    const oldest = reads.keys().next()
    if (reads.size >= most && !oldest.done) reads.delete(oldest.value)
    reads.set(keyId, started)
    return started.key
  }

  return {
    find(keyId) {
      const nowMs = clockMs()
      const known = reads.get(keyId)
      return known && nowMs - known.startedMs < maxAgeMs ? known.key : read(keyId, nowMs)
    },
    forget: (keyId) => void reads.delete(keyId),
  }
}
