import type { ChainEvent, Head } from './chain-records.ts'
import type { ModelManifest } from './manifest.ts'

/** A thing of the chain as a view function returned it at a block; null when it does not exist there. */
export interface Mirror {
  /** An account's state is its balance and its configuration; integers are decimal strings, so that it is JSON. */
  kind: 'account' | 'key' | 'dataset' | 'model' | 'provider' | 'offer'
  /** accountId; accountId:key; datasetId; modelId; operator; operator:modelId. */
  id: string
  block: number
  state: Record<string, unknown> | null
}

export interface CatalogModel {
  modelId: string
  /** Null until the manifest has been fetched and checked. */
  manifest: ModelManifest | null
  state: Record<string, unknown>
  offers: { provider: string; unitPrice: bigint; unit: number }[]
}

export interface MirrorLedger {
  cursor(): Promise<Head | null>
  /** Heads that were applied, the last first (the cursor is the first one): where the indexer looks for a fork. */
  heads(limit: number): Promise<Head[]>
  /**
   * Events, mirrors and the new cursor in one transaction; with `after`, refused unless that is the cursor (null: there is none). A block
   * without either may be lost with the database's next crash, and all after it: then the cursor is an earlier one.
   */
  apply(change: { head: Head; events: readonly ChainEvent[]; mirrors: readonly Mirror[]; after?: Head | null }): Promise<void>
  /** Forgets events after `block`, makes `block` the cursor and names the mirrors they had touched, to be read again. */
  rollback(to: Head): Promise<Pick<Mirror, 'kind' | 'id'>[]>
  /** Drops everything that derives from the chain; the next apply starts anew. */
  forgetChain(): Promise<void>
  storeManifest(digest: string, manifest: ModelManifest): Promise<void>
  modelsWithoutManifest(limit: number): Promise<{ modelId: string; manifestDigest: string }[]>
  models(): Promise<CatalogModel[]>
  mirror(kind: Mirror['kind'], id: string): Promise<Mirror | null>
  mirrors(kind: Mirror['kind'], limit: number): Promise<Mirror[]>
}
