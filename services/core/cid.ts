import { getBytes, hexlify } from 'ethers'
import { CID } from 'multiformats/cid'
import { create } from 'multiformats/hashes/digest'

/** Content of at most one block (1 MiB) is a raw CID, whose digest is the sha-256 that the chain stores. */
const RAW = 0x55
const SHA2_256 = 0x12

/** The CID of a block whose sha-256 is `digest` (32 bytes as 0x-hex). */
export function cidOfDigest(digest: string): string {
  return CID.createV1(RAW, create(SHA2_256, getBytes(digest))).toString()
}

/** The sha-256 of the bytes behind `cid`; null for content of several blocks, whose CID hashes a tree instead. */
export function digestOfCid(cid: string): string | null {
  const parsed = parseCid(cid)
  return parsed?.code === RAW && parsed.multihash.code === SHA2_256 ? hexlify(parsed.multihash.digest) : null
}

/** A CIDv1, or null when the text is none. */
export function parseCid(text: string): CID | null {
  try {
    const cid = CID.parse(text)
    return cid.version === 1 ? cid : null
  } catch {
    return null
  }
}
