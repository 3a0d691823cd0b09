import { FsBlockstore } from 'blockstore-fs'
import type { CID } from 'multiformats/cid'
import type { Log } from '../log.ts'
import { gather, matchesCid, mismatch } from './unixfs.ts'

/** Blocks as files that are hashed again whenever they are read: a disk may change what Helia once checked. */
export class VerifiedBlockstore extends FsBlockstore {
  readonly #log: Log | undefined

  constructor(dir: string, log?: Log) {
    super(dir)
    this.#log = log
  }

  override async *get(cid: CID, options?: { signal?: AbortSignal }): AsyncGenerator<Uint8Array> {
    const bytes = await gather(super.get(cid, options))
    if (!matchesCid(cid, bytes)) {
      this.#log?.warn({ event: 'content.corrupted', cid: cid.toString() })
      await this.delete(cid)
      const error = mismatch(cid)
      // The name by which bitswap tells a block that is not there from a failure that stops its serving.
      error.name = 'NotFoundError'
      throw error
    }
    yield bytes
  }
}
