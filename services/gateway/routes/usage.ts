import type { FastifyInstance } from 'fastify'
import { DAY_SECONDS, dayOf, dayText, monthOf, monthText, parseDay, parseMonth, startOfMonth } from '../../core/calendar.ts'
import { GranaryError } from '../../core/errors.ts'
import type { Ledger } from '../../core/ports.ts'
import { sumUsage, type UsageLine, type UsageNames, usageCsv } from '../../core/usage.ts'
import { billHtml, billOf, billText } from '../bill.ts'
import type { Caller, Callers } from '../callers.ts'
import type { Catalog } from '../catalog.ts'
import { pageLimit } from '../page-limit.ts'

export interface UsageContext {
  ledger: Ledger
  callers: Callers
  catalog: Catalog
  collector: string
  /** Chain time. */
  clock: () => number
}

const MAX_LINES = 20_000
const MAX_DAYS = 366

/** What was bought and what it cost. The payer sees the account; any other key what it has bought itself. */
export function usageRoutes(app: FastifyInstance, context: UsageContext): void {
  const { ledger, callers, collector, clock } = context

  app.get<{ Querystring: { before?: string; limit?: string } }>('/v1/statement', async (request) => {
    const { accountId, key, isPayer } = await callers.known(request)
    const limit = pageLimit(request.query.limit, { fallback: 100, most: 500 })
    const before = /^[0-9]{1,18}$/.test(request.query.before ?? '') ? BigInt(request.query.before ?? 0) : undefined
    const options = { limit, ...(before === undefined ? {} : { before }), ...(isPayer ? {} : { key }) }
    return { accountId, lines: (await ledger.statement(accountId, options)).map(jsonSafe) }
  })

  app.get<{ Querystring: { from?: string; to?: string; key?: string; format?: string } }>('/v1/usage', async (request, reply) => {
    const { query } = request
    const format = oneOf(query.format ?? 'json', ['json', 'csv'])
    const today = dayOf(clock())
    const first = readDay(query.from, startOfMonth(monthOf(clock())) / DAY_SECONDS)
    const last = readDay(query.to, Math.max(first, today))
    if (last < first || last - first >= MAX_DAYS)
      throw new GranaryError('request.malformed', `Ask for 1 to ${MAX_DAYS} days, \`from\` the first \`to\` the last.`)
    const caller = await callers.known(request)
    const lines = await linesOf(caller, { from: first * DAY_SECONDS, to: (last + 1) * DAY_SECONDS, asked: query.key })
    const names = await namesOf(caller)
    if (format === 'csv') return reply.type('text/csv; charset=utf-8').send(usageCsv(lines, names))
    const described = lines.map((line) => ({
      ...jsonSafe(line),
      day: dayText(line.day),
      model: names.models.get(line.modelId) ?? null,
      label: names.labels.get(line.key) ?? null,
    }))
    const { accountId } = caller
    return { accountId, from: dayText(first), to: dayText(last), lines: described, total: jsonSafe(sumUsage(lines)) }
  })

  app.get<{ Querystring: { month?: string; key?: string; format?: string } }>('/v1/bill', async (request, reply) => {
    const { query } = request
    const format = oneOf(query.format ?? 'html', ['html', 'text', 'json'])
    const month = query.month === undefined ? monthOf(clock()) : parseMonth(query.month)
    if (month === null) throw new GranaryError('request.malformed', 'Write the month as 2026-11.')
    const caller = await callers.known(request)
    const { accountId, isPayer, key } = caller
    const lines = await linesOf(caller, { from: startOfMonth(month), to: startOfMonth(month + 1), asked: query.key })
    const account = await ledger.account(accountId)
    const bill = billOf({
      month: monthText(month),
      accountId,
      payer: account?.payer ?? '',
      collector,
      onlyKey: isPayer ? (query.key ?? null) : key,
      closed: startOfMonth(month + 1) <= clock(),
      issuedAt: clock(),
      lines,
      names: await namesOf(caller),
    })
    if (format === 'json') return jsonBill(bill)
    if (format === 'text') return reply.type('text/plain; charset=utf-8').send(billText(bill))
    reply.header('content-security-policy', "default-src 'none'; style-src 'unsafe-inline'")
    return reply.type('text/html; charset=utf-8').send(billHtml(bill))
  })

  async function linesOf(
    { accountId, isPayer, key }: Caller,
    { from, to, asked }: { from: number; to: number; asked: string | undefined },
  ): Promise<UsageLine[]> {
    if (asked !== undefined && !/^0x[0-9a-f]{40}$/.test(asked))
      throw new GranaryError('request.malformed', 'A key is named by its address.')
    if (!isPayer && asked !== undefined && asked !== key)
      throw new GranaryError('credential.forbidden', 'This credential sees its own usage only.')
    const only = isPayer ? asked : key
    const options = { from, to, limit: MAX_LINES + 1, ...(only === undefined ? {} : { key: only }) }
    const lines = await ledger.usage(accountId, options)
    if (lines.length <= MAX_LINES) return lines
    throw new GranaryError('request.too-large', `That is more than ${MAX_LINES} lines: ask for fewer days.`)
  }

  async function namesOf({ accountId }: Caller): Promise<UsageNames> {
    const [keys, models] = await Promise.all([ledger.apiKeys(accountId), context.catalog.list()])
    return {
      labels: new Map(keys.map(({ key, label }) => [key, label])),
      models: new Map(models.map(({ modelId, manifest }) => [modelId, manifest.name])),
    }
  }
}

function readDay(text: string | undefined, fallback: number): number {
  const day = text === undefined ? fallback : parseDay(text)
  if (day === null) throw new GranaryError('request.malformed', 'Write days as 2026-11-22.')
  return day
}

function oneOf<T extends string>(asked: string, known: readonly T[]): T {
  const found = known.find((one) => one === asked)
  if (found === undefined) throw new GranaryError('request.malformed', `The format is one of ${known.join(', ')}.`)
  return found
}

function jsonBill(bill: ReturnType<typeof billOf>): Record<string, unknown> {
  return { ...bill, rows: bill.rows.map(jsonSafe), total: jsonSafe(bill.total) }
}

export function jsonSafe(value: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(value).map(([name, field]) => [name, typeof field === 'bigint' ? field.toString() : field]),
  )
}
