import type { Libp2p, PeerId } from '@libp2p/interface'
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import { GranaryError } from '../../core/errors.ts'
import type { Log } from '../log.ts'

const MAX_PEERS = 64
const MAX_ADDRESSES = 16
const DIAL_TIMEOUT_MS = 5_000
const MAX_REDIALS = 12
const FIRST_DELAY_MS = 500
const LONGEST_DELAY_MS = 30_000

interface Known {
  addresses: Multiaddr[]
  attempts: number
  timer: NodeJS.Timeout | null
}

/** Nodes that were named to us: dialled, and dialled again when lost, a bounded number of times until named anew. */
export class KnownPeers {
  readonly #libp2p: Libp2p
  readonly #log: Log | undefined
  readonly #known = new Map<string, Known>()
  readonly #closing = new AbortController()

  constructor(libp2p: Libp2p, log?: Log) {
    this.#libp2p = libp2p
    this.#log = log
    libp2p.addEventListener('peer:disconnect', this.#onDisconnect)
  }

  /** Resolves after the first try; what could not be reached is tried again in the background. */
  async connect(texts: readonly string[]): Promise<void> {
    const peers = byPeer(texts.slice(0, MAX_PEERS * MAX_ADDRESSES), this.#libp2p.peerId.toString())
    await Promise.all([...peers].map(([peer, addresses]) => this.#learn(peer, addresses)))
  }

  close(): void {
    this.#closing.abort()
    this.#libp2p.removeEventListener('peer:disconnect', this.#onDisconnect)
    for (const { timer } of this.#known.values()) if (timer) clearTimeout(timer)
    this.#known.clear()
  }

  #onDisconnect = (event: CustomEvent<PeerId>): void => {
    const peer = event.detail.toString()
    if (this.#known.has(peer)) this.#redialLater(peer)
  }

  async #learn(peer: string, addresses: Multiaddr[]): Promise<void> {
    const before = this.#known.get(peer)
    if (before?.timer) clearTimeout(before.timer)
    this.#known.delete(peer)
    this.#known.set(peer, { addresses: addresses.slice(0, MAX_ADDRESSES), attempts: 0, timer: null })
    if (this.#known.size > MAX_PEERS) this.#forgetOldest()
    await this.#dial(peer)
  }

  async #dial(peer: string): Promise<void> {
    const known = this.#known.get(peer)
    if (!known) return
    try {
      await this.#libp2p.dial(known.addresses, {
        signal: AbortSignal.any([this.#closing.signal, AbortSignal.timeout(DIAL_TIMEOUT_MS)]),
      })
      known.attempts = 0
      this.#log?.debug({ event: 'content.peer-connected', peer })
    } catch (error) {
      if (this.#closing.signal.aborted) return
      this.#log?.warn({ event: 'content.peer-unreachable', peer, attempts: known.attempts, error })
      this.#redialLater(peer)
    }
  }

  #redialLater(peer: string): void {
    const known = this.#known.get(peer)
    if (!known || known.timer || this.#closing.signal.aborted) return
    if (known.attempts >= MAX_REDIALS) {
      this.#known.delete(peer)
      return
    }
    const delay = Math.random() * Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** known.attempts)
    known.attempts += 1
    known.timer = setTimeout(() => {
      known.timer = null
      void this.#dial(peer)
    }, delay)
    known.timer.unref()
  }

  #forgetOldest(): void {
    const oldest = this.#known.entries().next().value
    if (!oldest) return
    if (oldest[1].timer) clearTimeout(oldest[1].timer)
    this.#known.delete(oldest[0])
  }
}

function byPeer(texts: readonly string[], self: string): Map<string, Multiaddr[]> {
  const peers = new Map<string, Multiaddr[]>()
  for (const text of texts) {
    const { address, peer } = parseAddress(text)
    if (peer === self) continue
    peers.set(peer, [...(peers.get(peer) ?? []), address])
  }
  return peers
}

function parseAddress(text: string): { address: Multiaddr; peer: string } {
  try {
    const address = multiaddr(text)
    const peer = address.getComponents().findLast(({ name }) => name === 'p2p')?.value
    if (peer) return { address, peer }
  } catch (cause) {
    throw new GranaryError('request.malformed', `"${text.slice(0, 200)}" is no multiaddr.`, { cause })
  }
  throw new GranaryError('request.malformed', `The multiaddr ${text.slice(0, 200)} names no peer (/p2p/…).`)
}
