/** A number without rounding: numerator / denominator in lowest terms, the denominator positive. */
export interface Rational {
  numerator: bigint
  denominator: bigint
}

export const ZERO: Rational = { numerator: 0n, denominator: 1n }

export function rational(numerator: bigint, denominator = 1n): Rational {
  if (denominator <= 0n) throw new RangeError(`${numerator}/${denominator} has no positive denominator.`)
  const divisor = greatestCommonDivisor(numerator < 0n ? -numerator : numerator, denominator)
  return { numerator: numerator / divisor, denominator: denominator / divisor }
}

export function add(a: Rational, b: Rational): Rational {
  return rational(a.numerator * b.denominator + b.numerator * a.denominator, a.denominator * b.denominator)
}

export function subtract(a: Rational, b: Rational): Rational {
  return add(a, { numerator: -b.numerator, denominator: b.denominator })
}

export function times(a: Rational, b: Rational): Rational {
  return rational(a.numerator * b.numerator, a.denominator * b.denominator)
}

/** Negative, zero or positive, as a is less than, equal to or more than b. */
export function compare(a: Rational, b: Rational): bigint {
  return a.numerator * b.denominator - b.numerator * a.denominator
}

/** The greatest whole number that is not above a, for a that is not negative. */
export function roundDown(a: Rational): bigint {
  if (a.numerator < 0n) throw new RangeError(`${a.numerator}/${a.denominator} is negative.`)
  return a.numerator / a.denominator
}

export function toText({ numerator, denominator }: Rational): string {
  return denominator === 1n ? `${numerator}` : `${numerator}/${denominator}`
}

function greatestCommonDivisor(a: bigint, b: bigint): bigint {
  return b === 0n ? a : greatestCommonDivisor(b, a % b)
}
