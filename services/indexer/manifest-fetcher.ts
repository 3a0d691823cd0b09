import type { Log } from '../adapters/log.ts'
import { cidOfDigest } from '../core/cid.ts'
import { GranaryError } from '../core/errors.ts'
import { MAX_MANIFEST_BYTES, parseModelManifest } from '../core/manifest.ts'
import type { MirrorLedger } from '../core/mirror-ledger.ts'
import type { ContentStore } from '../core/ports.ts'
import { pause } from './indexer.ts'

const LOOK_AHEAD = 500
const PARALLEL_FETCHES = 8
const FIRST_RETRY_MS = 1000
const LONGEST_RETRY_MS = 300_000

export interface ManifestFetcherOptions {
  ledger: Pick<MirrorLedger, 'modelsWithoutManifest' | 'mirror' | 'storeManifest'>
  content: Pick<ContentStore, 'get'>
  log: Log
  fetchTimeoutMs: number
  /** Makes nodes known that may have manifests; called before models are looked for, never fatal. */
  meetPeers?: () => Promise<void>
  now?: () => number
  /** Ends a round at once, whatever it waits for. */
  signal?: AbortSignal
}

/** One round: fetches manifests of models that have none yet; failed ones wait longer each time. Returns how many were stored. */
export function openManifestRound(options: ManifestFetcherOptions): () => Promise<number> {
  const { ledger, content, log, fetchTimeoutMs, meetPeers, now = () => performance.now(), signal } = options
  const failed = new Map<string, { attempts: number; retryAt: number }>()

  async function round(): Promise<number> {
    const missing = await ledger.modelsWithoutManifest(LOOK_AHEAD)
    for (const modelId of failed.keys()) if (!missing.some((model) => model.modelId === modelId)) failed.delete(modelId)
    const due = missing.filter(({ modelId }) => (failed.get(modelId)?.retryAt ?? 0) <= now()).slice(0, PARALLEL_FETCHES)
    if (due.length === 0) return 0
    await meetPeers?.().catch((error: unknown) => log.warn({ event: 'content.peers-unknown', error }))
    return (await Promise.all(due.map(attempt))).filter(Boolean).length
  }

  async function attempt(model: { modelId: string; manifestDigest: string }): Promise<boolean> {
    try {
      await fetchOne(model)
      failed.delete(model.modelId)
      log.info({ event: 'manifest.stored', modelId: model.modelId })
      return true
    } catch (error) {
      if (signal?.aborted) return false
      const attempts = (failed.get(model.modelId)?.attempts ?? 0) + 1
      const waitMs = Math.min(FIRST_RETRY_MS * 2 ** (attempts - 1), LONGEST_RETRY_MS)
      failed.set(model.modelId, { attempts, retryAt: now() + waitMs })
      log.warn({ event: 'manifest.failed', modelId: model.modelId, attempts, retryInMs: waitMs, error })
      return false
    }
  }

  async function fetchOne({ modelId, manifestDigest }: { modelId: string; manifestDigest: string }): Promise<void> {
    const cid = cidOfDigest(manifestDigest)
    const bytes = await unlessAborted(content.get(cid, { maxBytes: MAX_MANIFEST_BYTES, timeoutMs: fetchTimeoutMs }), signal)
    const manifest = parseModelManifest(bytes)
    const onChain = (await ledger.mirror('model', modelId))?.state?.onnxDigest
    if (manifest.onnx.sha256 !== onChain) {
      throw new GranaryError('content.mismatch', "The manifest names another ONNX file than the model's registration.", {
        modelId,
        actual: manifest.onnx.sha256,
        expected: onChain,
      })
    }
    await ledger.storeManifest(manifestDigest, manifest)
  }

  return round
}

/** A stopping process does not wait for IPFS, which may take its whole time limit. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise
  const aborted = Promise.withResolvers<never>()
  const abort = () => aborted.reject(signal.reason)
  signal.addEventListener('abort', abort, { once: true })
  return Promise.race([promise, aborted.promise]).finally(() => signal.removeEventListener('abort', abort))
}

const LONGEST_PAUSE_MS = 10_000

/** Rounds until disposed: `pollMs` after one that stored something or after `wake`, twice as long each time that there was nothing. */
export function openManifestFetcher(options: ManifestFetcherOptions & { pollMs: number }): { wake(): void } & AsyncDisposable {
  const { log, pollMs } = options
  const stop = new AbortController()
  const round = openManifestRound({ ...options, signal: stop.signal })
  let pauseMs = pollMs
  let waiting = new AbortController()

  async function run(): Promise<void> {
    while (!stop.signal.aborted) {
      waiting = new AbortController()
      const stored = await round().catch((error: unknown) => log.warn({ event: 'manifest.round-failed', error }))
      pauseMs = stored === 0 ? Math.min(2 * pauseMs, LONGEST_PAUSE_MS) : pollMs
      await pause(pauseMs, AbortSignal.any([stop.signal, waiting.signal]))
    }
  }

  const running = run()
  return {
    wake() {
      pauseMs = pollMs
      waiting.abort()
    },
    async [Symbol.asyncDispose]() {
      stop.abort()
      await running
    },
  }
}
