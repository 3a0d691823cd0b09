import { setTimeout } from 'node:timers/promises'
import type { Wallet } from 'ethers'
import { ConsentWatch } from '../adapters/consent-watch.ts'
import type { LinkOptions, WorkerLink } from '../adapters/dispatcher/worker-link.ts'
import type { Log } from '../adapters/log.ts'
import type { Chain, ContentStore, Runtime } from '../core/ports.ts'
import { type Answering, answerJob } from './answer.ts'
import { answerInSteps } from './answer-steps.ts'
import { fetchModel } from './fetch-model.ts'
import { OfferBook } from './offers.ts'
import { Shelf } from './shelf.ts'

const POLL_MS = 1_000

export interface WorkerParts {
  chain: Chain
  store: ContentStore
  runtime: Runtime
  /** Dials the gateway. */
  openLink: (options: LinkOptions) => WorkerLink
  /** Holds the session key. */
  sessionWallet: Wallet
  /** The only operator to work for, lower case; null for whoever named the session key. */
  worksFor?: string | null
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
 * gateway sends. It runs from the start on; an operator that has not named our key yet is waited for, and only then is the
 * gateway dialled, which would refuse us before.
 */
export function openWorker(parts: WorkerParts): AsyncDisposable {
  const { chain, store, runtime, sessionWallet, log } = parts
  const stop = new AbortController()
  const sessionKey = sessionWallet.address.toLowerCase()
  const offers = new OfferBook({ chain, sessionKey, deployBlock: parts.deployBlock, worksFor: parts.worksFor ?? null })
  const consent = new ConsentWatch({ chain, log, blockMs: parts.blockMs, refusal: 'provider.refused' })
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
  const dial = () => dialGateway({ parts, answering, shelf })
  const work: Work = { offers, shelf, dial, link: null, signal: stop.signal, pollMs: parts.pollMs ?? POLL_MS, log }
  const done = tend(work)
  return {
    async [Symbol.asyncDispose]() {
      stop.abort()
      await work.link?.[Symbol.asyncDispose]()
      await consent[Symbol.asyncDispose]()
      // A download or a loading model may take long; what it uses is closed next, which ends it.
      await Promise.race([done, setTimeout(POLL_MS)])
    },
  }
}

function dialGateway({ parts, answering, shelf }: { parts: WorkerParts; answering: Answering; shelf: Shelf }): WorkerLink {
  const { chain, store, log } = parts
  const link = parts.openLink({
    url: parts.workerUrl,
    wallet: parts.sessionWallet,
    providerRegistry: { chainId: chain.chainId, address: chain.addresses.ProviderRegistry ?? '' },
    capacity: parts.capacity,
    onJob: (job, limits) => answerJob(answering, job, limits),
    onSteps: (job, limits) => answerInSteps(answering, job, limits),
    onWelcome: ({ contentAddresses }) => {
      store
        .connect(contentAddresses)
        .then(() => shelf.retryNow())
        .catch((error) => log.warn({ event: 'content.connect-failed', error }))
    },
    log,
  })
  link.setReady(shelf.ready())
  return link
}

interface Work {
  offers: OfferBook
  shelf: Shelf
  dial: () => WorkerLink
  link: WorkerLink | null
  signal: AbortSignal
  pollMs: number
  log: Log
}

/** Follows the offers until stopped; a chain that does not answer is asked again, and logged once. */
async function tend(work: Work): Promise<void> {
  const { offers, shelf, signal, pollMs, log } = work
  const changed = () => {
    if (!signal.aborted) work.link?.setReady(shelf.ready())
  }
  let operator: string | null = null
  let failing = false
  while (!signal.aborted) {
    try {
      await offers.refresh()
      failing = false
      if (offers.operator !== operator && !signal.aborted) {
        operator = offers.operator
        log.info({ event: 'operator.changed', operator, offers: offers.active().length })
        await work.link?.[Symbol.asyncDispose]()
        work.link = operator === null || signal.aborted ? null : work.dial()
      }
      await shelf.arrange(offers.active(), { signal, changed })
    } catch (error) {
      if (!failing) log.warn({ event: 'offers.unread', error })
      failing = true
    }
    await setTimeout(pollMs, undefined, { signal }).catch(() => {})
  }
}
