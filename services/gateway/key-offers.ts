import { Wallet } from 'ethers'
import { GranaryError } from '../core/errors.ts'
import { openSeals } from './seals.ts'
import { type ApiSecret, makeApiSecret } from './vault.ts'

/** An escrow key that waits for its grant, and the API key that will stand before it. */
export interface KeyOffer extends ApiSecret {
  key: string
  privateKey: string
}

/**
 * Offers are kept by who asked for them, sealed under the master key: any gateway of the operator takes back what another has
 * made, a restart loses none, and nobody fills a memory with offers.
 */
export interface KeyOffers {
  make(now: number): { key: string; offer: string; endsAt: number }
  /** Throws `credential.unknown` for what is no offer of this key, or none any more. */
  open(offer: string, key: string, now: number): KeyOffer
}

const LIFE_SECONDS = 3600

export function openKeyOffers(masterKeys: readonly Uint8Array[]): KeyOffers {
  const seals = openSeals(masterKeys, 'granary/key-offers/1')
  return {
    make(now) {
      const wallet = Wallet.createRandom()
      const key = wallet.address.toLowerCase()
      const endsAt = now + LIFE_SECONDS
      const offered: Sealed = { privateKey: wallet.privateKey, secret: makeApiSecret(), endsAt }
      const offer = seals.seal(Buffer.from(JSON.stringify(offered)), { context: key }).toString('base64url')
      return { key, offer, endsAt }
    },
    open(offer, key, now) {
      const { privateKey, secret, endsAt } = unseal(() => seals.open(Buffer.from(offer, 'base64url'), { context: key }))
      if (endsAt > now) return { key, privateKey, ...secret }
      throw new GranaryError('credential.unknown', 'The offer has expired: POST /v1/keys/offer again.', { key, endsAt })
    },
  }
}

interface Sealed {
  privateKey: string
  secret: ApiSecret
  endsAt: number
}

function unseal(open: () => Buffer): Sealed {
  try {
    return JSON.parse(open().toString('utf8')) as Sealed
  } catch (cause) {
    throw new GranaryError('credential.unknown', 'This key was not offered by this operator: POST /v1/keys/offer again.', {
      cause,
    })
  }
}
