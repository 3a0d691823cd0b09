import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { formatDollars } from '../../services/core/money.ts'
import { bearer } from '../edges/support/scene.ts'
import { expectProblem } from '../edges/support/wire.ts'
import { type Counter, type Customer, NOON, openCounter, PRICE } from './support/counter.ts'

// A busy machine takes its time.
vi.setConfig({ testTimeout: 120_000 })

const DAY = 86_400
const HOSTILE = '=HYPERLINK("x"),<script>alert(1)</script>'

/** The books: what was bought, by whom, and who may see it. */
describe('usage and bills', () => {
  let counter: Counter
  let payer: Customer
  let first: { apiKey: string; key: string }
  let second: { apiKey: string; key: string }
  beforeAll(async () => {
    counter = await openCounter()
    payer = await counter.customer()
    first = await payer.apiKey({ label: 'first' })
    second = await payer.apiKey({ label: HOSTILE })
    const buy = async (apiKey: string, model: string, texts: string[]) => {
      const reply = await counter.send({ body: { model, inputs: { text: texts } }, headers: bearer(apiKey) })
      expect(reply.status).toBe(200)
    }
    for (const day of [NOON - DAY, NOON]) {
      counter.setTime(day)
      await buy(first.apiKey, 'mood', ['a', 'b'])
      await buy(first.apiKey, 'mood', ['c'])
      await buy(second.apiKey, 'vector', ['d'])
    }
  }, 120_000)
  afterAll(() => counter?.[Symbol.asyncDispose]())

  const get = (path: string, apiKey: string) => counter.send({ method: 'GET', path, headers: bearer(apiKey) })

  it('gives the payer every day, model and key, to the unit of the ledger', async () => {
    const report = await payer.granary.account.books.usage({ from: '2026-11-21', to: '2026-11-22' })
    expect(
      report.lines.map(({ day, model, label, requests, units, charged }) => [day, model, label, requests, units, charged]),
    ).toEqual(
      expect.arrayContaining(
        ['2026-11-21', '2026-11-22'].flatMap((day) => [
          [day, 'mood', 'first', 2, '3', (3n * PRICE).toString()],
          [day, 'vector', HOSTILE, 1, '1', PRICE.toString()],
        ]),
      ),
    )
    expect(report.lines).toHaveLength(4)
    const standing = await counter.ledger.standing(payer.accountId, payer.config.payer)
    expect(report.total.charged).toBe(standing?.accountCharged.toString())
    const oneDay = await payer.granary.account.books.usage({ from: '2026-11-22' })
    expect(oneDay.total.charged).toBe((4n * PRICE).toString())
  })

  it('shows a key its own usage, statement, bill and standing, and nothing of the rest of the account', async () => {
    const books = payer.granary.booksOf(first.apiKey)
    const report = await books.usage({ from: '2026-11-21' })
    expect(new Set(report.lines.map(({ key }) => key))).toEqual(new Set([first.key]))
    expect(report.total.charged).toBe((6n * PRICE).toString())
    expect(await books.statement()).toHaveLength(4)
    expect(await payer.granary.account.books.statement()).toHaveLength(6)
    const account = (await get('/v1/account', first.apiKey)).json
    expect(Object.keys(account.standing as object).sort()).toEqual([
      'accountId',
      'cap',
      'ceiling',
      'key',
      'reserved',
      'spent',
      'usageHead',
    ])
    expect(account).not.toHaveProperty('accountLimits')
    const bill = await get('/v1/bill?format=json', first.apiKey)
    expect(bill.json).toMatchObject({ onlyKey: first.key, total: { charged: (6n * PRICE).toString(), requests: 4 } })
    for (const path of [`/v1/usage?key=${second.key}`, `/v1/bill?key=${second.key}`])
      expectProblem(await get(path, first.apiKey), 403, 'credential.forbidden')
    const everything = await Promise.all(
      ['/v1/usage', '/v1/usage?format=csv', '/v1/bill', '/v1/statement', '/v1/account'].map((path) => get(path, first.apiKey)),
    )
    for (const { status, bytes } of everything) {
      expect(status).toBe(200)
      expect(bytes.toString()).not.toContain(second.key)
      expect(bytes.toString()).not.toContain('HYPERLINK')
    }
  })

  it('tells an API key that the account is short, not how much of it is left or used', async () => {
    const poor = await counter.customer(PRICE - 1n)
    const { apiKey } = await poor.apiKey({ cap: 10n * PRICE })
    const body = { model: 'mood', inputs: { text: 'x' } }
    const short = expectProblem(await counter.send({ body, headers: bearer(apiKey) }), 402, 'payment.insufficient')
    expect(short).toMatchObject({ limit: 'deposit', required: PRICE.toString() })
    expect(short).not.toHaveProperty('available')
    await payer.granary.account.setLimits(null, { budgetPerMonth: 1n })
    const spent = expectProblem(await counter.send({ body, headers: bearer(first.apiKey) }), 402, 'budget.exhausted')
    await payer.granary.account.setLimits(null, {})
    expect(spent).toMatchObject({ of: 'account', limit: 'budgetPerMonth' })
    expect(spent).not.toHaveProperty('used')
  })

  it('writes CSV that no spreadsheet takes for a formula', async () => {
    const csv = await payer.granary.account.books.usageCsv({ from: '2026-11-22', key: second.key })
    const [head, row, end] = csv.split('\r\n')
    expect(head).toBe('day,key,label,model,modelId,requests,units,charged,dollars,settled,voided')
    expect(row).toBe(
      `2026-11-22,${second.key},"'=HYPERLINK(""x""),<script>alert(1)</script>",vector,${counter.models.vector},1,1,400,0.000400,0,0`,
    )
    expect(end).toBe('')
  })

  it('prints a bill as one page without anything from elsewhere, and as text, with the ledger’s total', async () => {
    const total = formatDollars(8n * PRICE)
    const html = await payer.granary.account.books.bill({ month: '2026-11' })
    expect(html).toContain(`<td class="n">${total}</td></tr></tfoot>`)
    expect(html).not.toMatch(/<script|https?:|src=|href=|url\(/i)
    expect(html).toContain('&lt;script&gt;')
    const reply = await get('/v1/bill', first.apiKey)
    expect(reply.headers['content-security-policy']).toBe("default-src 'none'; style-src 'unsafe-inline'")
    const text = await payer.granary.account.books.bill({ format: 'text' })
    expect(text).toContain('Bill for 2026-11')
    expect(text).toMatch(new RegExp(`^Total .*${total}$`, 'm'))
    expect(text).toContain('the month is still running')
    expect(await payer.granary.account.books.bill({ month: '2026-10', format: 'text' })).toMatch(/^Total .* 0\.000000$/m)
  })

  it('refuses days, months, formats and keys that are none', async () => {
    for (const path of [
      '/v1/usage?from=2026-02-30',
      '/v1/usage?from=yesterday',
      '/v1/usage?from=2026-11-22&to=2026-11-21',
      '/v1/usage?from=2020-01-01&to=2026-11-22',
      '/v1/usage?format=xml',
      '/v1/usage?key=0x1',
      '/v1/bill?month=2026-13',
      '/v1/bill?format=pdf',
    ])
      expectProblem(await get(path, first.apiKey), 400, 'request.malformed')
    for (const path of ['/v1/usage', '/v1/bill'])
      expectProblem(await counter.send({ method: 'GET', path }), 401, 'credential.unknown')
  })
})
