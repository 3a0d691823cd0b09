import { shareOf } from './money.ts'

/** Chapter 5: what a batch costs the collector in gas, and what it earns by it, both in base units of the token. */
export interface Economy {
  /** What the collector keeps of a gross. */
  feePpm: bigint
  batch: bigint
  lane: bigint
  ownRow: bigint
  grantedRow: bigint
}

/**
 * Gas of a batch's parts, a tenth above what docs/gas-snapshot.json implies: 1 row and 1 lane take 124,800, 100 rows and
 * 4 lanes 15,300 a row (own key) or 21,100 (granted key). A rollup's fee for data is not in it.
 */
const GAS = { batch: 95_000n, lane: 28_000n, ownRow: 15_000n, grantedRow: 21_500n }

const ONE_COIN = 10n ** 18n

/** `gasPrice` in wei, `coinPrice` in base units for one coin of 10^18 wei; costs are rounded up. */
export function economyOf({ feePpm, gasPrice, coinPrice }: { feePpm: bigint; gasPrice: bigint; coinPrice: bigint }): Economy {
  const costOf = (gas: bigint) => (gas * gasPrice * coinPrice + ONE_COIN - 1n) / ONE_COIN
  return {
    feePpm,
    batch: costOf(GAS.batch),
    lane: costOf(GAS.lane),
    ownRow: costOf(GAS.ownRow),
    grantedRow: costOf(GAS.grantedRow),
  }
}

/** Where gas is paid in a coin without a price, as on a development chain. */
export const FREE_OF_COST: Economy = { feePpm: 0n, batch: 0n, lane: 0n, ownRow: 0n, grantedRow: 0n }

/** A row or a lane for which the collector's fee is below its own gas waits until it has grown. */
export function paysFor(economy: Economy, { gross, cost }: { gross: bigint; cost: bigint }): boolean {
  return shareOf(gross, economy.feePpm) >= cost
}
