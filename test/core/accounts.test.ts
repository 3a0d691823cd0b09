import { Wallet } from 'ethers'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { headroomOf, isVoucherGenuine, nextCeiling } from '../../services/core/accounts.ts'
import { digestOf } from '../../services/core/messages.ts'
import type { KeyStanding } from '../../services/core/selling-ledger.ts'
import { deriveMacKey, macOf, sameMac, x25519PublicKey } from '../../services/core/sessions.ts'

const word = (byte: string) => `0x${byte.repeat(32)}`
const units = fc.bigInt({ min: 0n, max: 10n ** 12n })
const standing: fc.Arbitrary<KeyStanding> = fc
  .record({
    spent: units,
    reserved: units,
    ahead: units,
    spare: units,
    capAbove: fc.option(units),
    others: units,
    thawing: units,
  })
  .map(({ spent, reserved, ahead, spare, capAbove, others, thawing }) => ({
    accountId: word('01'),
    key: `0x${'02'.repeat(20)}`,
    spent,
    reserved,
    ceiling: spent + reserved + ahead,
    cap: capAbove === null ? null : spent + reserved + capAbove,
    usageHead: word('00'),
    deposit: spent + reserved + others + thawing + spare,
    thawing,
    accountCharged: spent + others,
    accountReserved: reserved,
  }))

describe('what may be promised', () => {
  it('a new ceiling always makes room for the request, and never more than cap and deposit can pay', () => {
    fc.assert(
      fc.property(standing, fc.bigInt({ min: 1n, max: 10n ** 12n }), fc.bigInt({ min: 1n, max: 64n }), (before, max, ahead) => {
        const ceiling = nextCeiling(before, { max, ahead })
        const funds = before.deposit - before.thawing - before.accountCharged - before.accountReserved
        const used = before.spent + before.reserved
        const fits = max <= funds && (before.cap === null || used + max <= before.cap)
        expect(ceiling !== null).toBe(fits)
        if (ceiling === null) return
        expect(headroomOf({ ...before, ceiling })).toBeGreaterThanOrEqual(max)
        expect(ceiling - used).toBeLessThanOrEqual(funds)
        if (before.cap !== null) expect(ceiling).toBeLessThanOrEqual(before.cap)
      }),
    )
  })
})

describe('a voucher', () => {
  const escrow = { chainId: 31_337n, address: `0x${'a3'.repeat(20)}` }
  const wallet = new Wallet(word('11'))
  const value = { accountId: word('01'), key: wallet.address.toLowerCase(), ceiling: 500n, usageHead: word('00') }
  const signed = (over: object, by = wallet) =>
    by.signingKey.sign(digestOf('InferenceEscrow', 'Voucher', escrow, { ...value, ...over })).serialized

  it('is genuine when its key signed these fields for this escrow', () => {
    expect(isVoucherGenuine({ ...value, signature: signed({}) }, escrow)).toBe(true)
  })

  it('is refused when any field differs, for another chain or escrow, by another key, or malleable', () => {
    const signature = signed({})
    for (const change of [
      { ceiling: 501n },
      { accountId: word('03') },
      { usageHead: word('04') },
      { key: `0x${'05'.repeat(20)}` },
    ]) {
      expect(isVoucherGenuine({ ...value, ...change, signature }, escrow)).toBe(false)
    }
    expect(isVoucherGenuine({ ...value, signature }, { ...escrow, chainId: 1n })).toBe(false)
    expect(isVoucherGenuine({ ...value, signature }, { ...escrow, address: `0x${'a4'.repeat(20)}` })).toBe(false)
    expect(isVoucherGenuine({ ...value, signature: signed({}, new Wallet(word('12'))) }, escrow)).toBe(false)
    const order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n
    const highS = (order - BigInt(`0x${signature.slice(66, 130)}`)).toString(16).padStart(64, '0')
    const flipped = signature.endsWith('1b') ? '1c' : '1b'
    expect(isVoucherGenuine({ ...value, signature: `${signature.slice(0, 66)}${highS}${flipped}` }, escrow)).toBe(false)
    for (const nonsense of ['0x', '0x1234', `0x${'ff'.repeat(65)}`])
      expect(isVoucherGenuine({ ...value, signature: nonsense }, escrow)).toBe(false)
  })
})

describe('a session', () => {
  const payer = new Uint8Array(32).fill(3)
  const gateway = new Uint8Array(32).fill(4)
  const sessionId = word('09')
  const request = { method: 'POST', path: '/v1/infer', body: new TextEncoder().encode('{}'), idempotencyKey: 'a', voucher: '' }

  it('gives both sides the same key, and another session another one', () => {
    const ours = deriveMacKey({ secretKey: payer, publicKey: x25519PublicKey(gateway), sessionId })
    expect(deriveMacKey({ secretKey: gateway, publicKey: x25519PublicKey(payer), sessionId })).toEqual(ours)
    expect(deriveMacKey({ secretKey: payer, publicKey: x25519PublicKey(gateway), sessionId: word('0a') })).not.toEqual(ours)
  })

  it('authenticates method, path, body, idempotency key and voucher', () => {
    const key = deriveMacKey({ secretKey: payer, publicKey: x25519PublicKey(gateway), sessionId })
    const mac = macOf(key, request)
    expect(sameMac(mac, macOf(key, { ...request }))).toBe(true)
    const changes = [
      { method: 'GET' },
      { path: '/v1/keys' },
      { body: new TextEncoder().encode('{ }') },
      { idempotencyKey: 'b' },
      { voucher: 'x' },
    ]
    for (const change of changes) expect(sameMac(mac, macOf(key, { ...request, ...change }))).toBe(false)
    expect(sameMac(mac, mac.slice(0, -1))).toBe(false)
  })
})
