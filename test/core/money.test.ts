import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatDollars, MAX_AMOUNT, parseAmount, parseDollars, shareOf } from '../../services/core/money.ts'
import { partOfIncome } from '../../services/core/royalties.ts'

const amount = fc.bigInt({ min: 0n, max: MAX_AMOUNT })

describe('money', () => {
  it('reads what it prints, to the unit', () => {
    fc.assert(fc.property(fc.bigInt({ min: 0n, max: 10n ** 20n }), (units) => parseDollars(formatDollars(units)) === units))
    fc.assert(fc.property(amount, (units) => parseAmount(units.toString()) === units))
  })

  it('refuses signs, fractions, exponents, leading zeros, blanks and what is too large', () => {
    const wrong = [
      '-1',
      '+1',
      '1.0',
      '1e3',
      '01',
      ' 1',
      '1 ',
      '',
      '0x10',
      'NaN',
      (MAX_AMOUNT + 1n).toString(),
      5,
      null,
      undefined,
    ]
    for (const text of wrong) expect(parseAmount(text)).toBeNull()
    for (const text of ['1.0000001', '-1', '1e3', '.5', '1.', '']) expect(parseDollars(text)).toBeNull()
  })

  it('rounds shares down, so that parts never exceed the whole', () => {
    fc.assert(
      fc.property(amount, fc.array(fc.bigInt({ min: 1n, max: 500_000n }), { minLength: 1, maxLength: 32 }), (income, ppms) => {
        const payeesPpm = ppms.reduce((sum, ppm) => sum + ppm, 0n)
        const parts = ppms.map((ppm) => partOfIncome(income, { ppm, payeesPpm }))
        const paid = parts.reduce((sum, part) => sum + part, 0n)
        return paid <= income && income - paid < BigInt(ppms.length)
      }),
    )
    fc.assert(fc.property(amount, fc.bigInt({ min: 0n, max: 1_000_000n }), (whole, ppm) => shareOf(whole, ppm) <= whole))
  })
})
