import type { Wallet } from 'ethers'
import { beforeAll, describe, expect, it } from 'vitest'
import { talk } from '../support/wire.ts'
import { echo, PRICE, type X402Market } from '../support/x402-market.ts'
import { payWith, signPayment } from '../support/x402-payments.ts'

const targets = [
  '/v1/infer',
  '//v1/infer',
  '/v1//infer',
  '/v1/infer/',
  '/v1/infer?paid=true',
  '/v1/infer;paid',
  '/v1/./infer',
  '/v1/models/../infer',
  '/v1/%2e/infer',
  '/v1/%2e%2e/v1/infer',
  '/v1%2finfer',
  '/v1/%69nfer',
  '/v1/infer%00',
  '/v1/infer%0d%0a',
  '/v1\\infer',
  '/V1/INFER',
  'http://127.0.0.1/v1/infer',
  'http://127.0.0.1:1//v1/infer',
  'ftp://elsewhere.example/v1/infer',
]
const methods = ['POST', 'GET', 'HEAD', 'OPTIONS', 'PUT', 'PATCH', 'DELETE', 'TRACE', 'post']

/** Headers that pretend: none of them is a payment. */
const pretences: Record<string, string[]> = {
  'an empty payment': ['PAYMENT-SIGNATURE: '],
  'a payment of "null"': [`PAYMENT-SIGNATURE: ${Buffer.from('null').toString('base64')}`],
  'a receipt': [`PAYMENT-RESPONSE: ${Buffer.from('{"success":true}').toString('base64')}`],
  'the payment of an older version': [`X-PAYMENT: ${Buffer.from('{"x402Version":1}').toString('base64')}`],
  'a header in the name of another': ['X-PAYMENT-SIGNATURE: x', 'X-Forwarded-Payment-Signature: x'],
  'another method in a header': ['X-HTTP-Method-Override: GET', 'X-Original-URL: /v1/models'],
  'a header folded over two lines': ['PAYMENT-SIGNATURE: e30', '\te30='],
  'a header of 64 KiB': [`PAYMENT-SIGNATURE: ${'A'.repeat(65_536)}`],
  'a thousand headers': Array.from({ length: 1000 }, (_, index) => `X-Paid-${index}: true`),
  'two lengths': ['Content-Length: 0'],
  'a length and chunks': ['Transfer-Encoding: chunked'],
}

/** Whatever the way to it is written as: without a payment there is no job. */
export function paywall(market: () => X402Market): void {
  describe('ways around the payment', () => {
    const body = JSON.stringify(echo('hi'))
    const ask = (method: string, target: string, headers: readonly string[] = []) => {
      const lines = [`${method} ${target} HTTP/1.1`, 'Host: x', 'Connection: close', 'Content-Type: application/json']
      const head = [...lines, `Content-Length: ${body.length}`, ...headers].join('\r\n')
      return talk(market().gatewayUrl, `${head}\r\n\r\n${body}`).catch(() => '')
    }
    const unpaid = async (asked: () => Promise<string>) => {
      const { workshop } = market()
      const jobs = workshop.jobs
      const answer = await asked()
      expect(answer).not.toMatch(/^HTTP\/1\.1 [23]/)
      expect(answer).not.toContain('outputs')
      expect(workshop.jobs).toBe(jobs)
    }

    for (const target of targets) {
      it(`there is none by ${target}`, async () => {
        for (const method of methods) {
          await unpaid(() => ask(method, target))
        }
      })
    }

    for (const [what, headers] of Object.entries(pretences)) {
      it(`there is none by ${what}`, () => unpaid(() => ask('POST', '/v1/infer', headers)))
    }

    let payer: Wallet
    beforeAll(async () => {
      payer = await market().payer(100n)
    })

    it('there is none by a second request behind an unpaid one', async () => {
      const request = `POST /v1/infer HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n`
      const two = `${request}\r\n${body}${request}Connection: close\r\n\r\n${body}`
      await unpaid(() => talk(market().gatewayUrl, two))
    })

    it('there is none by a header line smuggled into a value', async () => {
      const { header } = await signPayment(market(), { signer: payer })
      await unpaid(() => ask('POST', '/v1/infer', [`X-Note: a\rPAYMENT-SIGNATURE: ${header}`]))
      await unpaid(() => ask('POST', '/v1/infer', [`X-Note: a\nPAYMENT-SIGNATURE : ${header}`]))
    })

    it('there is none by the payment sent twice in one request, or split in two headers', async () => {
      const { header } = await signPayment(market(), { signer: payer })
      await unpaid(() => ask('POST', '/v1/infer', [`PAYMENT-SIGNATURE: ${header}`, `PAYMENT-SIGNATURE: ${header}`]))
      const half = header.length / 2
      const parts = [header.slice(0, half), header.slice(half)].map((part) => `PAYMENT-SIGNATURE: ${part}`)
      await unpaid(() => ask('POST', '/v1/infer', parts))
    })

    it('there is one job for one payment, however its header is written', async () => {
      const { header } = await signPayment(market(), { signer: payer })
      const { workshop } = market()
      const jobs = workshop.jobs
      expect(await ask('POST', '/v1/infer', [`pAyMeNt-SiGnAtUrE:   ${header}  `])).toMatch(/^HTTP\/1\.1 200/)
      expect((await payWith(market(), header)).status).toBe(200)
      expect(workshop.jobs).toBe(jobs + 1)
      expect(await market().balanceOf(payer.address)).toBe(100n - PRICE)
    })
  })
}
