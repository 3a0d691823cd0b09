import type { Wallet } from 'ethers'
import type { SignedTransaction } from '../../core/chain-records.ts'
import { keccak256 } from '../../core/keccak.ts'

export interface UnsignedTransaction {
  chainId: bigint
  nonce: number
  maxPriorityFeePerGas: bigint
  maxFeePerGas: bigint
  gasLimit: bigint
  to: string
  /** Hex digits after 0x, whole bytes: as an ABI's encoder gives them. */
  data: string
}

const EIP_1559 = Buffer.of(2)
const NO_VALUE = 0n

/**
 * An EIP-1559 transaction without value and access list. A batch's input has tens of kilobytes, which the library takes apart byte by
 * byte several times: here they are copied.
 */
export function signTransaction(wallet: Wallet, transaction: UnsignedTransaction): SignedTransaction {
  const { chainId, nonce, maxPriorityFeePerGas, maxFeePerGas, gasLimit, to, data } = transaction
  const whole = [chainId, BigInt(nonce), maxPriorityFeePerGas, maxFeePerGas, gasLimit].map(wholeNumber)
  const fields = [...whole, item(bytesOf(to)), wholeNumber(NO_VALUE), item(bytesOf(data)), list([])]
  const digest = hexOf(keccak256(Buffer.concat([EIP_1559, list(fields)])))
  const { yParity, r, s } = wallet.signingKey.sign(digest)
  const signature = [BigInt(yParity), BigInt(r), BigInt(s)].map(wholeNumber)
  const raw = Buffer.concat([EIP_1559, list([...fields, ...signature])])
  return { raw: hexOf(raw), hash: hexOf(keccak256(raw)), nonce }
}

function bytesOf(hex: string): Buffer {
  return Buffer.from(hex.slice(2), 'hex')
}

function hexOf(bytes: Uint8Array): string {
  return `0x${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex')}`
}

/** RLP: numbers without leading zeros, zero as nothing at all. */
function wholeNumber(value: bigint): Buffer {
  return item(bigEndian(value))
}

function bigEndian(value: bigint): Buffer {
  const digits = value === 0n ? '' : value.toString(16)
  return Buffer.from(digits.length % 2 === 0 ? digits : `0${digits}`, 'hex')
}

function item(bytes: Buffer): Buffer {
  const [first = 0x80] = bytes
  return bytes.length === 1 && first < 0x80 ? bytes : Buffer.concat([header(0x80, bytes.length), bytes])
}

function list(items: readonly Buffer[]): Buffer {
  const length = items.reduce((sum, one) => sum + one.length, 0)
  return Buffer.concat([header(0xc0, length), ...items])
}

function header(kind: number, length: number): Buffer {
  if (length < 56) return Buffer.of(kind + length)
  const size = bigEndian(BigInt(length))
  return Buffer.concat([Buffer.of(kind + 55 + size.length), size])
}
