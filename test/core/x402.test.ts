import { readFileSync } from 'node:fs'
import { Wallet } from 'ethers'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { page } from '../../scripts/protocol-examples.ts'
import type { ChainEvent } from '../../services/core/chain-records.ts'
import { typedData } from '../../services/core/messages.ts'
import {
  type Authorization,
  type ExactRail,
  exactRequirements,
  isExecution,
  paymentResponse,
  readPayment,
  requireFitting,
  requireSigned,
} from '../../services/core/x402.ts'

const payer = new Wallet(`0x${'11'.repeat(32)}`)
const from = payer.address.toLowerCase()
const to = `0x${'a8'.repeat(20)}`
const rail: ExactRail = {
  token: { chainId: 31337n, address: `0x${'a0'.repeat(20)}`, name: 'Granary Test Dollar', version: '1' },
  router: to,
  maxTimeoutSeconds: 90,
}
const NOW = 1_000_000
const amounts = fc.bigInt({ min: 1n, max: (1n << 80n) - 1n })
const nonces = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => `0x${Buffer.from(bytes).toString('hex')}`)

async function headerOf(authorization: Authorization, changes: Record<string, unknown> = {}): Promise<string> {
  const { domain, types, value } = typedData('Token', 'TransferWithAuthorization', rail.token, { ...authorization })
  const signature = await payer.signTypedData(domain, types, value)
  const texts = Object.fromEntries(Object.entries(authorization).map(([name, field]) => [name, String(field)]))
  const accepted = exactRequirements(rail, authorization.value)
  return btoa(JSON.stringify({ x402Version: 2, accepted, payload: { signature, authorization: texts }, ...changes }))
}

describe('an x402 payment', () => {
  it('that a client signs over what is offered is read, signed and fitting', async () => {
    await fc.assert(
      fc.asyncProperty(amounts, nonces, async (value, nonce) => {
        const authorization = { from, to, value, validAfter: 0, validBefore: NOW + 90, nonce }
        const claim = readPayment(await headerOf(authorization))
        expect(claim).toMatchObject({ authorization, identifier: null })
        requireSigned(claim, rail)
        requireFitting(claim, { rail, amount: value, now: NOW })
      }),
      { numRuns: 30 },
    )
  })

  it('with any one field of the authorization changed is not signed', async () => {
    const authorization = { from, to, value: 400n, validAfter: 0, validBefore: NOW + 90, nonce: `0x${'15'.repeat(32)}` }
    const claim = readPayment(await headerOf(authorization))
    const changes: Partial<Authorization>[] = [
      { from: to },
      { to: from },
      { value: 401n },
      { validAfter: 1 },
      { validBefore: NOW + 91 },
      { nonce: `0x${'16'.repeat(32)}` },
    ]
    for (const change of changes) {
      const bent = { ...claim, authorization: { ...authorization, ...change } }
      expect(() => requireSigned(bent, rail)).toThrow(expect.objectContaining({ code: 'payment.invalid' }))
    }
    for (const token of [
      { ...rail.token, chainId: 1n },
      { ...rail.token, address: from },
      { ...rail.token, version: '2' },
    ]) {
      expect(() => requireSigned(claim, { ...rail, token })).toThrow(expect.objectContaining({ code: 'payment.invalid' }))
    }
  })

  it('fits exactly within its times', async () => {
    const fits = async (validAfter: number, validBefore: number) => {
      const authorization = { from, to, value: 1n, validAfter, validBefore, nonce: `0x${'15'.repeat(32)}` }
      const claim = readPayment(await headerOf(authorization))
      try {
        requireFitting(claim, { rail, amount: 1n, now: NOW })
        return true
      } catch {
        return false
      }
    }
    expect(await fits(NOW - 1, NOW + 6)).toBe(true)
    expect(await fits(NOW, NOW + 6)).toBe(false)
    expect(await fits(0, NOW + 5)).toBe(false)
    expect(await fits(0, NOW + 390)).toBe(true)
    expect(await fits(0, NOW + 391)).toBe(false)
  })

  it('may carry an identifier of 16 to 128 letters, digits, hyphens or underscores', async () => {
    const authorization = { from, to, value: 1n, validAfter: 0, validBefore: NOW, nonce: `0x${'15'.repeat(32)}` }
    const read = async (extensions: unknown) => readPayment(await headerOf(authorization, { extensions })).identifier
    const named = (id: unknown) => ({ 'payment-identifier': { info: { required: false, id } } })
    for (const id of ['pay_7d5d747be160e280', 'x'.repeat(16), 'y-Z'.repeat(42)]) expect(await read(named(id))).toBe(id)
    for (const none of [{}, undefined, named(undefined), { constructor: {} }]) expect(await read(none)).toBeNull()
    for (const id of ['short', 'x'.repeat(129), 'with a blank in it', 'sixteen-chars-é!', 16, null, {}])
      await expect(read(named(id))).rejects.toMatchObject({ code: 'payment.invalid' })
  })

  it('that is any other text is payment.invalid, never another error', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json().map(btoaUtf8), fc.constant(undefined), fc.array(fc.string())), (header) => {
        expect(() => readPayment(header)).toThrow(expect.objectContaining({ code: 'payment.invalid', status: 402 }))
      }),
    )
  })

  it('of docs/PROTOCOL.md is one, and its answer’s header too', () => {
    const text = readFileSync(page, 'utf8')
    const header = (name: string) => new RegExp(`"${name}": "([^"]+)"`).exec(text)?.[1] ?? ''
    const claim = readPayment(header('payment-signature'))
    requireSigned(claim, rail)
    expect(claim).toMatchObject({ authorization: { from, to, value: 400n }, identifier: 'pay_0123456789abcdef' })
    expect(header('payment-response')).toBe(paymentResponse({ rail, payer: from, transaction: `0x${'16'.repeat(32)}` }))
  })
})

describe('what shows that an authorization was executed', () => {
  const nonce = `0x${'15'.repeat(32)}`
  const authorization: Authorization = { from, to, value: 400n, validAfter: 0, validBefore: NOW, nonce }
  const place = { block: 1, blockHash: '0x', transaction: '0x', contract: 'Token' }
  const used = (logIndex: number, of = nonce): ChainEvent => ({
    ...place,
    logIndex,
    name: 'AuthorizationUsed',
    args: { authorizer: from, nonce: of },
  })
  const transfer = (logIndex: number, changed: Record<string, unknown> = {}): ChainEvent => ({
    ...place,
    logIndex,
    name: 'Transfer',
    args: { from, to, value: '400', ...changed },
  })

  it('is its use and, right after it, its transfer', () => {
    expect(isExecution([used(3), transfer(4)], authorization)).toBe(true)
  })

  it('is not a cancellation, a transfer alone, or a use alone', () => {
    expect(isExecution([{ ...used(3), name: 'AuthorizationCanceled' }, transfer(4)], authorization)).toBe(false)
    expect(isExecution([transfer(4)], authorization)).toBe(false)
    expect(isExecution([used(3)], authorization)).toBe(false)
  })

  it('is not another transfer: to somebody else, over less, from another, of another token', () => {
    for (const changed of [{ to: from }, { value: '399' }, { from: to }])
      expect(isExecution([used(3), transfer(4, changed)], authorization)).toBe(false)
    expect(isExecution([used(3), { ...transfer(4), contract: 'InferenceEscrow' }], authorization)).toBe(false)
  })

  it('is not the payment of another nonce in the same transaction', () => {
    const other = `0x${'16'.repeat(32)}`
    const both = [used(3), transfer(4, { to: from }), used(5, other), transfer(6)]
    expect(isExecution(both, authorization)).toBe(false)
    expect(isExecution(both, { ...authorization, nonce: other })).toBe(true)
  })
})

function btoaUtf8(text: string): string {
  return Buffer.from(text).toString('base64')
}
