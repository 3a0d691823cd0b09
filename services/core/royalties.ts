/** Chapter 6: how a model's income of an epoch becomes each payee's. RoyaltyLedger.sol is the authority; dust stays there. */

/** One payee's part of a model's income: rounded down. */
export function partOfIncome(income: bigint, { ppm, payeesPpm }: { ppm: bigint; payeesPpm: bigint }): bigint {
  return payeesPpm === 0n ? 0n : (income * ppm) / payeesPpm
}
