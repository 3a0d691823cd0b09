/** Money is a bigint of base units (6 decimals); shares are parts per million. Nothing here is ever a float. */
export const PPM = 1_000_000n
export const DECIMALS = 6
export const MAX_AMOUNT = (1n << 80n) - 1n

/** `amount` × `ppm`, rounded down: the remainder stays with whoever the caller says. */
export function shareOf(amount: bigint, ppm: bigint): bigint {
  return (amount * ppm) / PPM
}

/** Reads base units from a decimal string without sign, exponent or fraction; null if it is anything else or too large. */
export function parseAmount(text: unknown): bigint | null {
  if (typeof text !== 'string' || !/^(0|[1-9][0-9]{0,24})$/.test(text)) return null
  const amount = BigInt(text)
  return amount <= MAX_AMOUNT ? amount : null
}

/** Base units of a human amount such as "12.5"; null if it has more than six decimals or is no plain number. */
export function parseDollars(text: string): bigint | null {
  const match = /^([0-9]{1,18})(?:\.([0-9]{1,6}))?$/.exec(text)
  if (!match) return null
  return BigInt(match[1] ?? '0') * PPM + BigInt((match[2] ?? '').padEnd(DECIMALS, '0'))
}

/** "12.500000" for 12_500_000n. */
export function formatDollars(amount: bigint): string {
  const sign = amount < 0n ? '-' : ''
  const units = amount < 0n ? -amount : amount
  return `${sign}${units / PPM}.${(units % PPM).toString().padStart(DECIMALS, '0')}`
}
