import type { Query } from './database.ts'

export interface ReceiptHead {
  sequence: bigint
  head: string
}

const MOST = 50_000

/**
 * The last receipt of accounts as this process knows it. It may be wrong, when another process has charged the account since:
 * the database compares before it writes.
 */
export interface ReceiptHeads {
  /** What is not known is read first; accounts that do not exist are left out. */
  of(accountIds: readonly string[]): Promise<Map<string, ReceiptHead>>
  keep(accountId: string, head: ReceiptHead): void
  forget(accountId: string): void
}

export function openReceiptHeads(query: Query): ReceiptHeads {
  const known = new Map<string, ReceiptHead>()

  function keep(accountId: string, { sequence, head }: ReceiptHead): void {
    const oldest = known.keys().next()
    if (known.size >= MOST && !known.has(accountId) && !oldest.done) known.delete(oldest.value)
    known.set(accountId, { sequence, head })
  }

  return {
    async of(accountIds) {
      const missing = accountIds.filter((accountId) => !known.has(accountId))
      if (missing.length > 0) {
        const { rows } = await query<{ account_id: string; sequence: string; head: string }>(
          'SELECT account_id, sequence, head FROM accounts WHERE account_id = ANY($1)',
          [missing],
        )
        for (const { account_id, sequence, head } of rows) keep(account_id, { sequence: BigInt(sequence), head })
      }
      return new Map(
        accountIds.flatMap((accountId) => {
          const head = known.get(accountId)
          return head ? [[accountId, head] as const] : []
        }),
      )
    },
    keep,
    forget: (accountId) => void known.delete(accountId),
  }
}
