import { GranaryError } from '../core/errors.ts'
import type { ContentStore } from '../core/ports.ts'

const TIMEOUT_MS = 3000
const MAX_ADDRESSES = 64

/** Connects to the listed nodes, and to the gateway's own, whose addresses change whenever it starts. */
export async function meetPeers(options: {
  content: ContentStore
  contentPeers: readonly string[]
  gatewayUrl: string | null
}): Promise<void> {
  const { content, contentPeers, gatewayUrl } = options
  const addresses = gatewayUrl === null ? [] : await addressesOf(gatewayUrl)
  if (contentPeers.length + addresses.length > 0) await content.connect([...contentPeers, ...addresses])
}

async function addressesOf(gatewayUrl: string): Promise<string[]> {
  const url = new URL('/v1/content/addresses', gatewayUrl)
  const response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) })
  const body: unknown = response.ok ? await response.json() : null
  if (typeof body !== 'object' || body === null || !('addresses' in body) || !Array.isArray(body.addresses)) {
    throw new GranaryError('content.not-found', `${url} does not tell where the gateway's IPFS node is.`, {
      status: response.status,
    })
  }
  return body.addresses.slice(0, MAX_ADDRESSES).map(String)
}
