import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeRows, encodeRows, type Row } from '../../services/core/rows.ts'

const bytes = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((value) => `0x${Buffer.from(value).toString('hex')}`)
const amount = fc.bigInt(0n, (1n << 80n) - 1n)
const part = fc.record({ lane: fc.nat(255), amount })
const row: fc.Arbitrary<Row> = fc
  .record({
    payer: bytes(20),
    thawSeconds: fc.nat(2 ** 32 - 1),
    salt: bytes(32),
    key: bytes(20),
    from: amount,
    ceiling: fc.bigInt(0n, (1n << 128n) - 1n),
    usageHead: bytes(32),
    r: bytes(32),
    vs: bytes(32),
    parts: fc.array(part, { maxLength: 64 }),
    own: fc.boolean(),
  })
  .map(({ own, ...fields }) => (own ? { ...fields, key: fields.payer } : fields))
const rows = fc.array(row, { maxLength: 5 })

describe("a batch's rows as bytes", () => {
  it('come back as they were', () => {
    fc.assert(
      fc.property(rows, (some) => {
        expect(decodeRows(encodeRows(some))).toEqual(some)
      }),
    )
  })

  it('stand one after another, so that two lists together are the bytes of both', () => {
    fc.assert(
      fc.property(rows, rows, (first, second) => {
        expect(encodeRows([...first, ...second])).toBe(encodeRows(first) + encodeRows(second).slice(2))
      }),
    )
  })

  it('take 190 for one part by the own key, 20 more for a granted key and 11 for each further part', () => {
    fc.assert(
      fc.property(row, (one) => {
        const granted = one.key === one.payer ? 0 : 20
        expect(encodeRows([one]).length / 2 - 1).toBe(179 + granted + 11 * one.parts.length)
      }),
    )
  })

  it('are malformed when they are cut anywhere within a row, or say that they have more than 64 parts', () => {
    fc.assert(
      fc.property(row, fc.nat(), (one, cut) => {
        const encoded = encodeRows([one])
        const kept = 1 + (cut % (encoded.length / 2 - 2))
        expect(decodeRows(encoded.slice(0, 2 + kept * 2))).toBeNull()
        const count = 2 + 178 * 2
        for (const parts of ['41', '7f', 'c1', 'ff']) {
          const many = `${encoded.slice(0, count)}${parts}${encoded.slice(count + 2)}${'00'.repeat(20 + 127 * 11)}`
          expect(decodeRows(many)).toBeNull()
        }
      }),
    )
    expect(decodeRows('0x0')).toBeNull()
    expect(decodeRows('nonsense')).toBeNull()
    expect(decodeRows('0x')).toEqual([])
  })

  it('have no room for what does not fit its place', () => {
    fc.assert(
      fc.property(row, (one) => {
        for (const change of [
          { from: 1n << 80n },
          { ceiling: 1n << 128n },
          { ceiling: -1n },
          { thawSeconds: 2 ** 32 },
          { salt: '0x01' },
        ]) {
          expect(() => encodeRows([{ ...one, ...change }])).toThrowError(expect.objectContaining({ code: 'internal' }))
        }
        const parts = Array.from({ length: 65 }, () => ({ lane: 0, amount: 1n }))
        expect(() => encodeRows([{ ...one, parts }])).toThrowError(expect.objectContaining({ code: 'internal' }))
      }),
      { numRuns: 10 },
    )
  })
})
