import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { PRICE } from '../../services/support/operator.ts'
import { bearer } from '../support/scene.ts'
import { type Stand, visit } from '../support/stand.ts'
import { openWire, talk } from '../support/wire.ts'

/** Ways around the price by how a request is written; paths and methods are in groups/paths.ts. */
export function paywall(stand: () => Stand): void {
  const url = () => stand().gateways[0].url
  const text = () => JSON.stringify(stand().operator.body('for nothing'))
  const request = (head: string[], body = text()) => [...head, '', body].join('\r\n')
  const plain = (path = '/v1/infer', more: string[] = [], body = text()) =>
    request(
      [
        `POST ${path} HTTP/1.1`,
        'host: gateway',
        'content-type: application/json',
        `content-length: ${Buffer.byteLength(body)}`,
        ...more,
      ],
      body,
    )
  /** No part of what was heard is an answer. */
  const expectNoAnswer = (heard: string) => {
    expect(heard).not.toContain('mood of')
    expect(heard).not.toMatch(/HTTP\/1\.1 200/)
    expect(heard).toMatch(/^HTTP\/1\.1 4\d\d /)
  }

  describe('paywall bypass by encoding', () => {
    const encodings: Record<string, { headers: Record<string, string>; body: () => Buffer }> = {
      'a compressed body': { headers: { 'content-encoding': 'gzip' }, body: () => gzipSync(text()) },
      'a body of another type': { headers: { 'content-type': 'text/plain' }, body: () => Buffer.from(text()) },
      'a form': { headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: () => Buffer.from('model=mood') },
      'UTF-16': { headers: { 'content-type': 'application/json; charset=utf-16' }, body: () => Buffer.from(text(), 'utf16le') },
      'a byte order mark': { headers: {}, body: () => Buffer.from(`\ufeff${text()}`) },
      'a model named twice': { headers: {}, body: () => Buffer.from(text().replace('{', '{"model":"free",')) },
      'a price of its own': { headers: {}, body: () => Buffer.from(text().replace('{', '{"unitPrice":"0","max":"0",')) },
      'a prototype of its own': { headers: {}, body: () => Buffer.from(text().replace('{', '{"__proto__":{"free":true},')) },
    }
    for (const [what, { headers, body }] of Object.entries(encodings)) {
      it(`there is none by ${what}`, async () => {
        const reply = await openWire(url())({ body: body(), headers })
        expect([400, 402, 404, 415]).toContain(reply.status)
        expect(reply.json.outputs).toBeUndefined()
      })
    }
  })

  describe('paywall bypass by header tricks', () => {
    const tricks: Record<string, () => string> = {
      'a length and chunks at once': () =>
        request(
          ['POST /v1/models HTTP/1.1', 'host: gateway', 'content-length: 5', 'transfer-encoding: chunked', 'connection: close'],
          `0\r\n\r\n${plain('/v1/infer', ['connection: close'])}`,
        ),
      'two lengths': () => plain('/v1/infer', ['content-length: 0', 'connection: close']),
      'a folded header': () => plain('/v1/infer', ['x-note: one', ' authorization: Bearer free', 'connection: close']),
      'a header line inside a value': () => plain('/v1/infer', ['x-note: a\rauthorization: Bearer free', 'connection: close']),
      'a space before the colon': () => plain('/v1/infer', ['authorization : Bearer free', 'connection: close']),
      'an empty credential': () => plain('/v1/infer', ['authorization: Bearer ', 'connection: close']),
      'an upgrade': () => plain('/v1/infer', ['connection: upgrade, close', 'upgrade: websocket', 'sec-websocket-version: 13']),
      'a proxy’s word for who asks': () =>
        plain('/v1/infer', ['x-forwarded-for: 127.0.0.1', 'x-real-ip: ::1', 'forwarded: for=localhost', 'connection: close']),
      'an old version': () => plain('/v1/infer', ['connection: close']).replace('HTTP/1.1', 'HTTP/1.0'),
      'a second request behind an unpaid one': () => `${plain()}${plain('/v1/infer', ['connection: close'])}`,
      'a header larger than any': () => plain('/v1/infer', [`authorization: Bearer ${'x'.repeat(100_000)}`, 'connection: close']),
      'a body longer than it says': () =>
        plain('/v1/infer', [], `${text()}`).replace(/content-length: \d+/, 'content-length: 2') +
        plain('/v1/infer', ['connection: close']),
    }
    for (const [what, raw] of Object.entries(tricks)) {
      it(`there is none by ${what}`, async () => expectNoAnswer(await talk(url(), raw())))
    }

    it('there is one answer for a paid request, and none for an unpaid one behind it in the same connection', async () => {
      const visitor = await visit(stand(), 10n * PRICE)
      const { apiKey } = await visitor.granary.account.createApiKey({ cap: 10n * PRICE, lifeSeconds: 3600, label: 'p' })
      await stand().operator.indexed()
      const heard = await talk(
        url(),
        plain('/v1/infer', [`authorization: ${bearer(apiKey).authorization}`]) + plain('/v1/infer', ['connection: close']),
      )
      expect(heard.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 402'])
      expect(heard.match(/mood of/g)).toHaveLength(1)
      expect(await visitor.charged()).toEqual({ lines: 1, sum: PRICE })
    })

    it('two credentials in one request are refused, or the first is charged: never nobody', async () => {
      const visitor = await visit(stand(), 10n * PRICE)
      const { apiKey } = await visitor.granary.account.createApiKey({ cap: 10n * PRICE, lifeSeconds: 3600, label: 't' })
      await stand().operator.indexed()
      const heard = await talk(
        url(),
        plain('/v1/infer', [`authorization: Bearer ${apiKey}`, 'authorization: Bearer free', 'connection: close']),
      )
      const isAnswered = heard.includes('mood of')
      expect(await visitor.charged()).toEqual({ lines: isAnswered ? 1 : 0, sum: isAnswered ? PRICE : 0n })
    })
  })
}
