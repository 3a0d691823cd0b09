import { dayText } from './calendar.ts'
import { formatDollars } from './money.ts'

/** What one key bought of one model on one UTC day (of the receipts' servedAt). */
export interface UsageLine {
  day: number
  key: string
  modelId: string
  requests: number
  units: bigint
  /** Without what was voided, which nobody pays. */
  charged: bigint
  /** The part of it that is final on chain. */
  settled: bigint
  voided: number
}

export interface UsageSums {
  requests: number
  units: bigint
  charged: bigint
  settled: bigint
  voided: number
}

export function sumUsage(lines: readonly UsageLine[]): UsageSums {
  return lines.reduce<UsageSums>(
    (sum, line) => ({
      requests: sum.requests + line.requests,
      units: sum.units + line.units,
      charged: sum.charged + line.charged,
      settled: sum.settled + line.settled,
      voided: sum.voided + line.voided,
    }),
    { requests: 0, units: 0n, charged: 0n, settled: 0n, voided: 0 },
  )
}

/** The names that people gave: by escrow key and by modelId. */
export interface UsageNames {
  labels: ReadonlyMap<string, string>
  models: ReadonlyMap<string, string>
}

/** RFC 4180: one line a day, key and model; base units to the unit, and dollars beside them. */
export function usageCsv(lines: readonly UsageLine[], { labels, models }: UsageNames): string {
  const head = ['day', 'key', 'label', 'model', 'modelId', 'requests', 'units', 'charged', 'dollars', 'settled', 'voided']
  const rows = lines.map(({ day, key, modelId, requests, units, charged, settled, voided }) => [
    dayText(day),
    key,
    labels.get(key) ?? '',
    models.get(modelId) ?? '',
    modelId,
    requests,
    units,
    charged,
    formatDollars(charged),
    settled,
    voided,
  ])
  return [head, ...rows].map((row) => `${row.map((cell) => csvCell(String(cell))).join(',')}\r\n`).join('')
}

/** A spreadsheet takes what begins like a formula for one: such a cell gets an apostrophe first. */
function csvCell(text: string): string {
  const safe = /^[=+\-@\t]/.test(text) ? `'${text}` : text
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
}
