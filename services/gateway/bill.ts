import { formatDollars } from '../core/money.ts'
import { sumUsage, type UsageLine, type UsageNames, type UsageSums } from '../core/usage.ts'

export interface BillRow extends UsageSums {
  model: string
  modelId: string
  key: string
  label: string
}

/** One month of an account, by model and key, as the ledger has it: sums of receipts, to the unit. */
export interface Bill {
  month: string
  /** False while the month runs: then it may still grow. */
  closed: boolean
  issuedAt: number
  accountId: string
  payer: string
  collector: string
  /** Of this key alone; null: of the whole account. */
  onlyKey: string | null
  rows: BillRow[]
  total: UsageSums
}

export function billOf({
  lines,
  names,
  ...head
}: Omit<Bill, 'rows' | 'total'> & { lines: readonly UsageLine[]; names: UsageNames }): Bill {
  const groups = Map.groupBy(lines, ({ modelId, key }) => `${modelId}:${key}`)
  const rows = [...groups.values()].flatMap((group) => {
    const [first] = group
    if (!first) return []
    const { modelId, key } = first
    return [{ modelId, key, model: names.models.get(modelId) ?? '', label: names.labels.get(key) ?? '', ...sumUsage(group) }]
  })
  return { ...head, rows, total: sumUsage(lines) }
}

const headings = ['Model', 'Key', 'Requests', 'Units', 'Amount']

function cellsOf({ model, modelId, label, key, requests, units, charged }: BillRow): string[] {
  return [model || short(modelId), label || short(key), String(requests), String(units), formatDollars(charged)]
}

function factsOf({ accountId, payer, collector, onlyKey, closed, total }: Bill): [string, string][] {
  return [
    ['Account', accountId],
    ['Payer', payer],
    ['Seller (collector)', collector],
    ...(onlyKey === null ? [] : ([['Only the key', onlyKey]] as [string, string][])),
    ['State', closed ? 'the month is over' : 'the month is still running'],
    ['Settled on chain', formatDollars(total.settled)],
    ['Not settled yet', formatDollars(total.charged - total.settled)],
    ['Voided, not charged', `${total.voided} requests`],
  ]
}

const note =
  'Amounts are dollars of the settlement token with all six decimals. Requests count to the UTC day of their receipt. ' +
  'Requests that failed are not here: they cost nothing.'

/** For a terminal or a printer of lines. */
export function billText(bill: Bill): string {
  const rows = [headings, ...bill.rows.map(cellsOf), ['Total', '', ...totals(bill)]]
  const widths = headings.map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)))
  const lines = rows.map((row) =>
    row.map((cell, column) => (column < 2 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0))).join('  '),
  )
  const facts = factsOf(bill).map(([name, value]) => `${name}: ${value}`)
  return `${[`Bill for ${bill.month}`, '', ...facts, '', ...lines, '', note].join('\n')}\n`
}

/** One page without anything from elsewhere, to print or keep. */
export function billHtml(bill: Bill): string {
  const cells = (row: readonly string[], tag: 'td' | 'th') =>
    row.map((cell, column) => `<${tag}${column < 2 ? '' : ' class="n"'}>${escaped(cell)}</${tag}>`).join('')
  const facts = factsOf(bill).map(([name, value]) => `<dt>${escaped(name)}</dt><dd>${escaped(value)}</dd>`)
  const rows = bill.rows.map((row) => `<tr>${cells(cellsOf(row), 'td')}</tr>`)
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Bill for ${escaped(bill.month)}</title><style>
body{font:14px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#111}
dl{display:grid;grid-template-columns:max-content 1fr;gap:0 1rem}dd{margin:0;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%;margin:1.5rem 0}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ccc}
.n{text-align:right;font-variant-numeric:tabular-nums}tfoot td{font-weight:600;border-top:2px solid #111}
@media print{body{margin:0}}
</style></head><body>
<h1>Bill for ${escaped(bill.month)}</h1>
<dl>${facts.join('')}</dl>
<table><thead><tr>${cells(headings, 'th')}</tr></thead>
<tbody>${rows.join('\n')}</tbody>
<tfoot><tr>${cells(['Total', '', ...totals(bill)], 'td')}</tr></tfoot></table>
<p>${escaped(note)}</p>
</body></html>
`
}

function totals({ total }: Bill): string[] {
  return [String(total.requests), String(total.units), formatDollars(total.charged)]
}

function short(id: string): string {
  return id.length > 14 ? `${id.slice(0, 10)}…` : id
}

/** Labels and model names are other people's words. */
function escaped(text: string): string {
  const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
  return text.replaceAll(/[&<>"']/g, (character) => entities[character] ?? character)
}
