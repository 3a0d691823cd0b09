import type { World } from './world.ts'

/** One batch's lane of one provider, as the chain settled it. */
export interface SettledLane {
  batchId: string
  modelId: string
  gross: bigint
  protocolFee: bigint
  collectorFee: bigint
  royalties: bigint
}

export async function settledLanes(
  world: World,
  { provider, fromBlock }: { provider: string; fromBlock: number },
): Promise<SettledLane[]> {
  const events = await world.events('InferenceEscrow', 'LaneSettled', fromBlock)
  return events
    .filter((event) => String(event.provider).toLowerCase() === provider)
    .map((event) => ({
      batchId: String(event.batchId),
      modelId: String(event.modelId),
      gross: BigInt(String(event.gross)),
      protocolFee: BigInt(String(event.protocolFee)),
      collectorFee: BigInt(String(event.collectorFee)),
      royalties: BigInt(String(event.royalties)),
    }))
}

/** A line of the balance sheet: both sides must be the same to the unit. */
export interface Check {
  what: string
  left: bigint
  right: bigint
  holds: boolean
}

export function same(what: string, left: bigint, right: bigint): Check {
  return { what, left, right, holds: left === right }
}

export function sumOf<T>(items: readonly T[], pick: (item: T) => bigint): bigint {
  return items.reduce((sum, item) => sum + pick(item), 0n)
}
