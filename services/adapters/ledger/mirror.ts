import type { ChainEvent, Head } from '../../core/chain-records.ts'
import { GranaryError } from '../../core/errors.ts'
import type { ModelManifest } from '../../core/manifest.ts'
import type { CatalogModel, Mirror, MirrorLedger } from '../../core/mirror-ledger.ts'
import type { Database, Query } from './database.ts'
import { feedAccounts, feedKeys, forgetAccounts } from './mirrored-accounts.ts'

/** At least so many heads are kept behind the cursor; no chain is expected to fork deeper. */
const KEPT_BLOCKS = 1024
const MAX_CATALOG = 10_000
/** One writer of the mirror at a time, also when two indexers run by mistake. */
const MIRROR_LOCK = 1_735_289_203

interface BlockRow {
  number: number
  hash: string
  parent_hash: string
  timestamp: string
}

interface MirrorRow {
  kind: Mirror['kind']
  id: string
  block: number
  state: Record<string, unknown> | null
}

export function openMirror({ query, call, transaction }: Database): MirrorLedger {
  return {
    cursor: () => cursorOf(query),

    heads: (limit) => headsOf(query, limit),

    async apply({ head, events, mirrors, after }) {
      // Most blocks hold nothing of ours: one statement, which nobody has to wait for the disk for.
      if (events.length === 0 && mirrors.length === 0) return advance(call, { head, after, isLazy: true })
      return transaction(async (under) => {
        await advance(under, { head, after, isLazy: false })
        await writeEvents(under, events)
        await writeMirrors(under, mirrors)
        await feedAccounts(under, mirrors)
        await feedKeys(under, mirrors)
      })
    },

    // Named again until they are applied: an indexer that dies in between asks once more by rolling back to its own cursor.
    rollback: (to) =>
      transaction(async (under) => {
        await claimMirror(under)
        await under('DELETE FROM chain_events WHERE block > $1', [to.number])
        await under('DELETE FROM blocks WHERE number > $1', [to.number])
        await under('UPDATE payments SET unplaced = true WHERE settled_block > $1', [to.number])
        await writeBlock(under, to)
        const { rows } = await under<Pick<MirrorRow, 'kind' | 'id'>>(
          'UPDATE mirrors SET stale = true WHERE block > $1 OR stale RETURNING kind, id',
          [to.number],
        )
        return rows.map(({ kind, id }) => ({ kind, id }))
      }),

    forgetChain: () =>
      transaction(async (under) => {
        await claimMirror(under)
        await under('DELETE FROM chain_events')
        await under('DELETE FROM mirrors')
        await under('DELETE FROM blocks')
        await forgetAccounts(under)
      }),

    async storeManifest(digest, manifest) {
      await query('INSERT INTO manifests (digest, manifest) VALUES ($1, $2::jsonb) ON CONFLICT (digest) DO NOTHING', [
        digest,
        toJson(manifest),
      ])
    },

    async modelsWithoutManifest(limit) {
      const { rows } = await query<{ id: string; digest: string }>(
        `SELECT m.id, m.state->>'manifestDigest' AS digest FROM mirrors m
         WHERE m.kind = 'model' AND m.state IS NOT NULL AND m.state->>'manifestDigest' IS NOT NULL
           AND NOT EXISTS (SELECT FROM manifests f WHERE f.digest = m.state->>'manifestDigest')
         ORDER BY m.block DESC, m.id LIMIT $1`,
        [limit],
      )
      return rows.map(({ id, digest }) => ({ modelId: id, manifestDigest: digest }))
    },

    models: () => catalog(query),

    async mirror(kind, id) {
      const { rows } = await query<MirrorRow>('SELECT kind, id, block, state FROM mirrors WHERE kind = $1 AND id = $2', [
        kind,
        id,
      ])
      return rows[0] ?? null
    },

    async mirrors(kind, limit) {
      const { rows } = await query<MirrorRow>(
        'SELECT kind, id, block, state FROM mirrors WHERE kind = $1 AND state IS NOT NULL ORDER BY id LIMIT $2',
        [kind, limit],
      )
      return rows.map(({ id, block, state }) => ({ kind, id, block, state }))
    },
  }
}

export async function claimMirror(query: Query): Promise<void> {
  await query('SELECT pg_advisory_xact_lock($1)', [MIRROR_LOCK])
}

async function cursorOf(query: Query): Promise<Head | null> {
  const [head] = await headsOf(query, 1)
  return head ?? null
}

async function headsOf(query: Query, limit: number): Promise<Head[]> {
  const { rows } = await query<BlockRow>(
    'SELECT number, hash, parent_hash, timestamp FROM blocks ORDER BY number DESC LIMIT $1',
    [limit],
  )
  return rows.map(({ number, hash, parent_hash, timestamp }) => ({
    number,
    hash,
    parentHash: parent_hash,
    timestamp: Number(timestamp),
  }))
}

interface Advance {
  head: Head
  after: Head | null | undefined
  isLazy: boolean
}

/** The cursor only moves forward; going back is `rollback`. The same head again brings mirrors that were read again. */
async function advance(query: Query, { head, after, isLazy }: Advance): Promise<void> {
  const { rows } = await query<{ cursor: string | null }>('SELECT advance_mirror($1, $2, $3, $4, $5, $6, $7, $8) AS cursor', [
    MIRROR_LOCK,
    head.number,
    head.hash,
    head.parentHash,
    head.timestamp,
    after === null ? '' : (after?.hash ?? null),
    KEPT_BLOCKS,
    isLazy,
  ])
  const cursor = rows[0]?.cursor ?? null
  if (cursor === null) return
  throw new GranaryError('internal', 'The chain was applied out of order.', { cursor, head: head.number })
}

async function writeBlock(query: Query, { number, hash, parentHash, timestamp }: Head): Promise<void> {
  await query(
    `INSERT INTO blocks (number, hash, parent_hash, timestamp) VALUES ($1, $2, $3, $4)
     ON CONFLICT (number) DO UPDATE SET hash = excluded.hash, parent_hash = excluded.parent_hash, timestamp = excluded.timestamp`,
    [number, hash, parentHash, timestamp],
  )
}

async function writeEvents(query: Query, events: readonly ChainEvent[]): Promise<void> {
  if (events.length === 0) return
  await query(
    `INSERT INTO chain_events (block, log_index, block_hash, transaction, contract, name, args)
     SELECT block, "logIndex", "blockHash", transaction, contract, name, args FROM jsonb_to_recordset($1::jsonb)
       AS e(block int, "logIndex" int, "blockHash" text, transaction text, contract text, name text, args jsonb)
     ON CONFLICT (block, log_index) DO NOTHING`,
    [toJson(events)],
  )
}

async function writeMirrors(query: Query, mirrors: readonly Mirror[]): Promise<void> {
  if (mirrors.length === 0) return
  await query(
    `INSERT INTO mirrors (kind, id, block, state)
     SELECT kind, id, block, nullif(state, 'null'::jsonb) FROM jsonb_to_recordset($1::jsonb) AS m(kind text, id text, block int, state jsonb)
     ON CONFLICT (kind, id) DO UPDATE SET block = excluded.block, state = excluded.state, stale = false`,
    [toJson(mirrors)],
  )
}

async function catalog(query: Query): Promise<CatalogModel[]> {
  const models = await query<{ id: string; state: Record<string, unknown>; manifest: ModelManifest | null }>(
    `SELECT m.id, m.state, f.manifest FROM mirrors m LEFT JOIN manifests f ON f.digest = m.state->>'manifestDigest'
     WHERE m.kind = 'model' AND m.state IS NOT NULL ORDER BY m.id LIMIT $1`,
    [MAX_CATALOG],
  )
  const offers = await query<{ provider: string; model_id: string; unit_price: string; unit: string }>(
    `SELECT split_part(id, ':', 1) AS provider, split_part(id, ':', 2) AS model_id, state->>'unitPrice' AS unit_price, state->>'unit' AS unit
     FROM mirrors WHERE kind = 'offer' AND state->>'active' = 'true' ORDER BY id LIMIT $1`,
    [MAX_CATALOG],
  )
  const byModel = Map.groupBy(offers.rows, ({ model_id }) => model_id)
  return models.rows.map(({ id, state, manifest }) => ({
    modelId: id,
    manifest,
    state,
    offers: (byModel.get(id) ?? []).map(({ provider, unit_price, unit }) => ({
      provider,
      unitPrice: BigInt(unit_price),
      unit: Number(unit),
    })),
  }))
}

/**
 * Texts on chain are anybody's: what PostgreSQL's jsonb can't hold (NUL, half a surrogate pair) is replaced, so that a
 * provider's name can't stop the indexer.
 */
function toJson(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) => {
    if (typeof part === 'bigint') return part.toString()
    return typeof part === 'string' ? part.toWellFormed().replaceAll('\0', '\ufffd') : part
  })
}
