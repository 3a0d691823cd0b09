import { setTimeout } from 'node:timers/promises'
import type { Wallet } from 'ethers'
import { WorkerLink } from '../adapters/dispatcher/worker-link.ts'
import type { Log } from '../adapters/log.ts'
import type { Chain, ContentStore, Runtime } from '../core/ports.ts'
import { type Answering, answerJob } from './answer.ts'
import { ProviderConsent } from './consent.ts'
import { fetchModel } from './fetch-model.ts'
import { OfferBook } from './offers.ts'
import { Shelf } from './shelf.ts'

const POLL_MS = 1_000

export interface WorkerParts {
  chain: Chain
  store: ContentStore
  runtime: Runtime
  /** Holds the session key. */
  sessionWallet: Wallet
  workerUrl: string
  deployBlock: number
  capacity: number
  maxModels: number
  maxModelBytes: number
  blockMs: number
  pollMs?: number
  log: Log
}

/**
 * A provider's worker: it reads its operator's offers from the chain, keeps those models ready, and does the jobs that the
 * gateway sends. It runs from the start on; an operator that has not registered yet is waited for.
 */
export function openWorker(parts: WorkerParts): AsyncDisposable {
  const { chain, store, runtime, sessionWallet, log } = parts
  const sessionKey = sessionWallet.address.toLowerCase()
  const stop = new AbortController()
  const offers = new OfferBook({ chain, sessionKey, deployBlock: parts.deployBlock })
  const consent = new ProviderConsent({ chain, log, blockMs: parts.blockMs })
  const fetch = (modelId: string) => fetchModel({ chain, store, modelId, maxModelBytes: parts.maxModelBytes })
  const shelf = new Shelf({ runtime, fetch, maxModels: parts.maxModels, log })
  const answering: Answering = {
    operator: () => offers.operator,
    offer: (modelId) => offers.offer(modelId),
    model: (modelId) => shelf.model(modelId),
    permit: (use) => consent.require(use),
    runtime,
    wallet: sessionWallet,
    escrow: { chainId: chain.chainId, address: chain.addresses.InferenceEscrow ?? '' },
  }
  const link = new WorkerLink({
    url: parts.workerUrl,
    wallet: sessionWallet,
    providerRegistry: { chainId: chain.chainId, address: chain.addresses.ProviderRegistry ?? '' },
    capacity: parts.capacity,
    onJob: (job, limits) => answerJob(answering, job, limits),
    onWelcome: ({ contentAddresses }) => {
      store
        .connect(contentAddresses)
        .then(() => shelf.retryNow())
        .catch((error) => log.warn({ event: 'content.connect-failed', error }))
    },
    log,
  })
  const done = tend({ parts, offers, shelf, link, signal: stop.signal })
  return {
    async [Symbol.asyncDispose]() {
      stop.abort()
      await link[Symbol.asyncDispose]()
      await consent[Symbol.asyncDispose]()
      // A download or a loading model may take long; what it uses is closed next and ends it.
      await Promise.race([done, setTimeout(POLL_MS)])
    },
  }
}

/** Follows the offers; the link tells the gateway what is ready. */
async function tend(options: {
  parts: WorkerParts
  offers: OfferBook
  shelf: Shelf
  link: WorkerLink
  signal: AbortSignal
}): Promise<void> {
  const { parts, offers, shelf, link, signal } = options
  const { log, pollMs = POLL_MS } = parts
  let operator: string | null = null
  while (!signal.aborted) {
    try {
      await offers.refresh()
      if (offers.operator !== operator) {
        operator = offers.operator
        log.info({ event: 'operator.changed', operator, offers: offers.active().length })
      }
      await shelf.arrange(offers.active(), { signal, changed: () => signal.aborted || link.setReady(shelf.ready()) })
    } catch (error) {
      log.warn({ event: 'offers.unread', error })
    }
    await setTimeout(pollMs, undefined, { signal }).catch(() => {})
  }
}
