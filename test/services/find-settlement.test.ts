import { describe, expect, it } from 'vitest'
import type { ChainEvent } from '../../services/core/chain-records.ts'
import type { Chain } from '../../services/core/ports.ts'
import { findSettlement } from '../../services/settler/find-settlement.ts'

const batchId = `0x${'ba'.repeat(32)}`
const ours = `0x${'11'.repeat(20)}`
const theirs = `0x${'22'.repeat(20)}`

function settledBy(collector: string, block: number): ChainEvent {
  const transaction = `0x${block.toString(16).padStart(64, '0')}`
  return {
    block,
    blockHash: transaction,
    transaction,
    logIndex: 0,
    contract: 'InferenceEscrow',
    name: 'BatchSettled',
    args: { collector, batchId },
  }
}

function chainOf(events: ChainEvent[]): Chain {
  return {
    events: async (first: number, last: number) => events.filter(({ block }) => block >= first && block <= last),
    outcome: async (hash: string) => ({ hash }),
  } as unknown as Chain
}

async function found(events: ChainEvent[]): Promise<string | null> {
  const options = { collector: ours, batchId, head: { number: 10_000 } as Parameters<typeof findSettlement>[1]['head'] }
  return (await findSettlement(chainOf(events), options))?.hash ?? null
}

describe('the transaction that settled a batch', () => {
  it('is that of its own collector, though another one settles a batch of the same id', async () => {
    const mine = settledBy(ours, 9_998)
    expect(await found([settledBy(theirs, 9_997), mine, settledBy(theirs, 9_999)])).toBe(mine.transaction)
    expect(await found([settledBy(theirs, 9_999)])).toBeNull()
  })

  it('is found however the address is written, and many blocks back', async () => {
    const mine = settledBy(ours.toUpperCase().replace('0X', '0x'), 3)
    expect(await found([mine, settledBy(theirs, 9_999)])).toBe(mine.transaction)
  })
})
