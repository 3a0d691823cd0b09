import { computeAddress, id, keccak256 } from 'ethers'
import secp256k1 from 'secp256k1'

export interface Person {
  name: string
  address: string
  key: Uint8Array
}

/** The same name is the same person in every history. */
export function personOf(name: string): Person {
  const key = keccak256(id(`reference: ${name}`))
  return { name, address: computeAddress(key).toLowerCase(), key: Buffer.from(key.slice(2), 'hex') }
}

/** 65 bytes: r, s in the lower half, v. */
export function signDigest({ key }: Person, digest: string): string {
  const { signature, recid } = secp256k1.ecdsaSign(Buffer.from(digest.slice(2), 'hex'), key)
  return `0x${Buffer.from(signature).toString('hex')}${(27 + recid).toString(16)}`
}

/** EIP-2098: the parity is s's highest bit. */
export function compact(signature: string): { r: string; vs: string } {
  const odd = signature.endsWith('1c')
  const s = BigInt(`0x${signature.slice(66, 130)}`) | (odd ? 1n << 255n : 0n)
  return { r: signature.slice(0, 66), vs: `0x${s.toString(16).padStart(64, '0')}` }
}
