import { createHash, randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { cidOfDigest, digestOfCid } from '../../../services/core/cid.ts'
import { encodeManifest } from '../../../services/core/manifest.ts'
import type { ContentStore } from '../../../services/core/ports.ts'

const LIMITS = { maxBytes: 64 * 1024 * 1024, timeoutMs: 20_000 }
const sha256 = (bytes: Uint8Array) => `0x${createHash('sha256').update(bytes).digest('hex')}`

/** A tree of three leaves has one CID too, and it must not change with a library's defaults. */
const fixed = {
  small: new TextEncoder().encode('granary'),
  large: Uint8Array.from({ length: 3 * 1024 * 1024 }, (_, index) => (index * 31) & 0xff),
  largeCid: 'bafybeihcstlwkhkonpsmorrgnypf6hfi6apl6hxrlcp42akficr5kraagy',
}

export interface StoreSetup {
  name: string
  /** Two stores that can reach each other, or the same node twice, and a way to damage what the reading one has. */
  open: () => Promise<{
    writer: ContentStore
    reader: ContentStore
    damage: (cid: string) => Promise<void>
    close: () => Promise<void>
  }>
  /** Whether the damaged copy is the only one. */
  damageIsEverywhere: boolean
}

export function storeConformance({ name, open, damageIsEverywhere }: StoreSetup): void {
  describe(`ContentStore on ${name}`, () => {
    let setup: Awaited<ReturnType<StoreSetup['open']>>
    beforeAll(async () => {
      setup = await open()
    })
    afterAll(() => setup?.close())

    it('gives back the bytes that were put, of every size around the block size', async () => {
      for (const size of [0, 1, 255, 256 * 1024, 1024 * 1024 - 1, 1024 * 1024, 1024 * 1024 + 1, 5_000_000]) {
        const bytes = new Uint8Array(randomBytes(size))
        const cid = await setup.writer.put(bytes)
        const back = await setup.reader.get(cid, LIMITS)
        expect(back.length).toBe(size)
        expect(sha256(back)).toBe(sha256(bytes))
      }
    })

    it('gives the same bytes the same CID, which is the digest on chain when they fit one block', async () => {
      const bytes = encodeManifest({ name: 'a manifest', salt: randomBytes(8).toString('hex') })
      const cid = await setup.writer.put(bytes)
      expect(await setup.writer.put(bytes)).toBe(cid)
      expect(cid).toBe(cidOfDigest(sha256(bytes)))
      expect(digestOfCid(cid)).toBe(sha256(bytes))
      expect(digestOfCid(await setup.writer.put(fixed.large))).toBeNull()
    })

    it('gives the CIDs that every other adapter gives', async () => {
      expect(await setup.writer.put(fixed.small)).toBe(cidOfDigest(sha256(fixed.small)))
      expect(await setup.writer.put(fixed.large)).toBe(fixed.largeCid)
    })

    it('refuses content past the limit, whether in one block or in many', async () => {
      const limits = { ...LIMITS, maxBytes: 1000 }
      for (const size of [1001, 3_000_000]) {
        const cid = await setup.writer.put(new Uint8Array(randomBytes(size)))
        await expect(setup.reader.get(cid, limits)).rejects.toMatchObject({ code: 'request.too-large' })
      }
    })

    it('says not found in time when nobody has the content', async () => {
      const started = performance.now()
      const missing = cidOfDigest(sha256(randomBytes(32)))
      await expect(setup.reader.get(missing, { ...LIMITS, timeoutMs: 300 })).rejects.toMatchObject({ code: 'content.not-found' })
      expect(performance.now() - started).toBeLessThan(5_000)
    })

    it('refuses what is no CIDv1', async () => {
      for (const text of ['', 'nonsense', 'QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG']) {
        await expect(setup.reader.get(text, LIMITS)).rejects.toMatchObject({ code: 'request.malformed' })
      }
    })

    it('moves many contents at once', async () => {
      const contents = Array.from({ length: 24 }, () => new Uint8Array(randomBytes(200_000)))
      const cids = await Promise.all(contents.map((bytes) => setup.writer.put(bytes)))
      const back = await Promise.all(cids.map((cid) => setup.reader.get(cid, LIMITS)))
      expect(back.map(sha256)).toEqual(contents.map(sha256))
    })

    it('never hands out damaged bytes', async () => {
      for (const size of [5_000, 2_500_000]) {
        const bytes = new Uint8Array(randomBytes(size))
        const cid = await setup.writer.put(bytes)
        await setup.reader.get(cid, LIMITS)
        await setup.damage(cid)
        const again = setup.reader.get(cid, { ...LIMITS, timeoutMs: 3_000 })
        if (damageIsEverywhere) await expect(again).rejects.toMatchObject({ code: 'content.mismatch' })
        else expect(sha256(await again)).toBe(sha256(bytes))
      }
    })
  })
}
