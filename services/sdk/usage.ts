import { GranaryError } from '../core/errors.ts'

export interface UsageQuery {
  /** First and last UTC day, as 2026-11-22; by default the present month so far. */
  from?: string
  to?: string
  /** Of one escrow key. */
  key?: string
}

export interface UsageRow {
  day: string
  key: string
  label: string | null
  model: string | null
  modelId: string
  requests: number
  units: string
  charged: string
  settled: string
  voided: number
}

export interface UsageReport {
  accountId: string
  from: string
  to: string
  lines: UsageRow[]
  total: Pick<UsageRow, 'requests' | 'units' | 'charged' | 'settled' | 'voided'>
}

/** What was bought and what it cost: of an account for its payer, of a key for whoever holds it. */
export interface Usage {
  usage(query?: UsageQuery): Promise<UsageReport>
  /** The same lines as CSV. */
  usageCsv(query?: UsageQuery): Promise<string>
  /** One month (2026-11; by default the present one) to print: a page without anything from elsewhere, or text. */
  bill(options?: { month?: string; format?: 'html' | 'text'; key?: string }): Promise<string>
  statement(limit?: number): Promise<Record<string, string>[]>
}

/** `ask` fetches a path of the gateway with the caller's credential. */
export function usageOver(ask: (path: string) => Promise<Uint8Array>): Usage {
  const text = async (path: string, query: object) => {
    const given = Object.entries(query).filter((entry): entry is [string, string] => entry[1] !== undefined)
    const search = new URLSearchParams(given).toString()
    return new TextDecoder().decode(await ask(search === '' ? path : `${path}?${search}`))
  }
  return {
    usage: async (query = {}) => parsed<UsageReport>(await text('/v1/usage', query)),
    usageCsv: (query = {}) => text('/v1/usage', { ...query, format: 'csv' }),
    bill: ({ format = 'html', ...query } = {}) => text('/v1/bill', { ...query, format }),
    async statement(limit = 100) {
      return parsed<{ lines: Record<string, string>[] }>(await text('/v1/statement', { limit: String(limit) })).lines
    },
  }
}

function parsed<T>(json: string): T {
  try {
    return JSON.parse(json) as T
  } catch (cause) {
    throw new GranaryError('internal', 'The gateway answered with something that is no JSON.', { cause })
  }
}
