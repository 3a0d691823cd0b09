import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { hmacKey, hmacOf } from '../../services/adapters/hmac.ts'

describe('HMACs from one-shot digests', () => {
  it("are RFC 4231's", () => {
    const vectors = [
      ['0b'.repeat(20), 'Hi There', 'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7'],
      [
        Buffer.from('Jefe').toString('hex'),
        'what do ya want for nothing?',
        '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
      ],
    ] as const
    for (const [key, text, expected] of vectors) expect(hmacOf(hmacKey(Buffer.from(key, 'hex')), text, 'hex')).toBe(expected)
  })

  it("are Node's own for every key of at most a block and every text, whatever was hashed before", () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 200 }),
      fc.integer({ min: 2700, max: 3000 }).map((length) => '€'.repeat(length)),
    )
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), text, (key, message) => {
        const expected = createHmac('sha256', key).update(message).digest()
        expect(hmacOf(hmacKey(key), message, 'hex')).toBe(expected.toString('hex'))
        expect(Buffer.from(hmacOf(hmacKey(key), message, 'binary'), 'latin1')).toEqual(expected)
      }),
    )
  })

  it('take no key of more than a block, which would have to be hashed first', () => {
    expect(() => hmacKey(new Uint8Array(65))).toThrow(RangeError)
  })
})
