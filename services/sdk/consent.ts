import { randomBytes } from '@noble/hashes/utils.js'
import { hexlify, ZeroAddress } from 'ethers'
import { commitmentOf, datasetIdOf, type Terms, termsArgument, termsHashOf } from '../core/consent.ts'
import { digestOfBytes, encodeManifest } from '../core/manifest.ts'
import { type Context, DEADLINE_SECONDS, type Relayed } from './context.ts'
import { encryptBytes } from './sealing.ts'

export interface DatasetOffer {
  /** Plaintext: it is encrypted here and never leaves in the clear. */
  bytes: Uint8Array
  title: string
  licence: string
  description: string
  terms: Terms
  recovery?: string
  /** A pool of many contributors' data, which the wallet will run as its steward. */
  isPool?: boolean
}

/** Who shares in a pool from an epoch on. */
export interface ShareTable {
  root: string
  totalShares: bigint
  fromEpoch: bigint
  /** sha-256 of the published table. */
  dataDigest: string
}

export interface RegisteredDataset {
  datasetId: string
  termsHash: string
  /** Of the encrypted bytes. */
  cid: string
  manifestCid: string
  /** Keep it: it opens the bytes and the commitment. */
  contentKey: Uint8Array
  salt: string
  transaction: string
}

/** Chapter 2: a person's data, offered under terms, narrowed and withdrawn by signature. */
export class Consent {
  readonly #context: Context

  constructor(context: Context) {
    this.#context = context
  }

  /** Encrypts, puts to IPFS, and registers under terms; only salted commitments reach the chain. */
  async register(offer: DatasetOffer): Promise<RegisteredDataset> {
    const { address, relay, sign, now } = this.#context
    const contentKey = randomBytes(32)
    const encrypted = encryptBytes(offer.bytes, contentKey)
    const cid = await this.#context.put(encrypted)
    const termsHash = termsHashOf(offer.terms)
    const manifest = {
      granary: 'dataset/1',
      title: offer.title,
      description: offer.description,
      licence: offer.licence,
      termsHash,
      distribution: { cid, encryption: 'AES-256-GCM', sizeBytes: encrypted.length, sha256: digestOfBytes(encrypted) },
    }
    const manifestBytes = encodeManifest(manifest)
    const manifestCid = await this.#context.put(manifestBytes)
    const salt = hexlify(randomBytes(32))
    const owner = await address()
    const commitment = commitmentOf(digestOfBytes(manifestBytes), salt)
    const registration = {
      owner,
      commitment,
      termsHash,
      salt,
      isPool: offer.isPool ?? false,
      recovery: offer.recovery ?? ZeroAddress,
    }
    await relay('DatasetRegistry', 'storeTerms', [termsArgument(offer.terms)])
    const deadline = (await now()) + DEADLINE_SECONDS
    const signature = await sign('DatasetRegistry', 'RegisterDataset', { ...registration, deadline })
    const { transaction } = await relay('DatasetRegistry', 'registerBySig', [registration, deadline, signature])
    return { datasetId: datasetIdOf(owner, commitment, salt), termsHash, cid, manifestCid, contentKey, salt, transaction }
  }

  /** Ends the consent: needs no gas, has no deadline, and a repeat changes nothing. */
  async withdraw(datasetId: string): Promise<Relayed> {
    return this.relayWithdrawal(datasetId, await this.signWithdrawal(datasetId))
  }

  /** The signature alone: whoever holds it can end the consent, through any relayer or none. */
  async signWithdrawal(datasetId: string): Promise<{ signer: string; signature: string }> {
    return {
      signer: await this.#context.address(),
      signature: await this.#context.sign('DatasetRegistry', 'WithdrawDataset', { datasetId }),
    }
  }

  async relayWithdrawal(datasetId: string, { signer, signature }: { signer: string; signature: string }): Promise<Relayed> {
    return this.#context.relay('DatasetRegistry', 'withdrawBySig', [datasetId, signer, signature])
  }

  /** Removes purposes or places, or brings the end nearer; nothing can be added. */
  async narrow(
    datasetId: string,
    narrowing: { removePurposes: number; removeJurisdictions: bigint; endsAt: number },
  ): Promise<Relayed> {
    const deadline = (await this.#context.now()) + DEADLINE_SECONDS
    const signature = await this.#context.sign('DatasetRegistry', 'NarrowDataset', { datasetId, ...narrowing, deadline })
    return this.#context.relay('DatasetRegistry', 'narrowBySig', [datasetId, narrowing, deadline, signature])
  }

  /** As the steward of a pool: the table in force from an epoch at least one ahead. */
  async announceShareTable(poolId: string, table: ShareTable): Promise<Relayed> {
    const deadline = (await this.#context.now()) + DEADLINE_SECONDS
    const signature = await this.#context.sign('DatasetRegistry', 'AnnounceShareTable', { poolId, ...table, deadline })
    return this.#context.relay('DatasetRegistry', 'announceShareTableBySig', [poolId, table, deadline, signature])
  }

  /** As somebody whose data is in the pool: takes it out, without a proof that it was in. */
  async leavePool(poolId: string): Promise<Relayed> {
    const account = await this.#context.address()
    const signature = await this.#context.sign('DatasetRegistry', 'WithdrawFromPool', { poolId, account })
    return this.#context.relay('DatasetRegistry', 'withdrawFromPoolBySig', [poolId, account, signature])
  }
}
