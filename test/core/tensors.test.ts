import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { GranaryError } from '../../services/core/errors.ts'
import {
  checkTensor,
  commitTensors,
  fromJsonTensor,
  type JsonTensor,
  textsOf,
  textTensor,
  toJsonTensor,
} from '../../services/core/tensors.ts'

const values: Record<string, fc.Arbitrary<number | string | boolean>> = {
  BOOL: fc.boolean(),
  UINT8: fc.integer({ min: 0, max: 255 }),
  INT32: fc.integer({ min: -(2 ** 31) + 1, max: 2 ** 31 - 1 }),
  INT64: fc.maxSafeInteger(),
  FP32: fc.float({ noNaN: true, noDefaultInfinity: true }),
  FP64: fc.double({ noNaN: true, noDefaultInfinity: true }),
  BYTES: fc.string({ unit: 'binary' }).filter((text) => text.isWellFormed()),
}

const jsonTensor = fc
  .constantFrom(...Object.keys(values))
  .chain((datatype) =>
    fc
      .array(values[datatype] ?? fc.nat(), { maxLength: 40 })
      .map((data) => ({ name: 'x', datatype, shape: [data.length], data }) as JsonTensor),
  )
const salt = `0x${'5a'.repeat(32)}`

describe('tensors', () => {
  it('come back from JSON as they went', () => {
    fc.assert(
      fc.property(jsonTensor, (tensor) => {
        // JSON has no negative zero.
        const sent = JSON.parse(JSON.stringify(tensor)) as JsonTensor
        expect(toJsonTensor(fromJsonTensor(sent))).toEqual(sent)
      }),
    )
  })

  it('refuse data that does not fill the shape', () => {
    fc.assert(
      fc.property(jsonTensor, fc.array(fc.nat({ max: 9 }), { maxLength: 4 }), (tensor, shape) => {
        fc.pre(shape.reduce((product, size) => product * size, 1) !== tensor.data.length)
        expect(() => fromJsonTensor({ ...tensor, shape })).toThrow(GranaryError)
      }),
    )
  })

  it('refuse values that are not of their type', () => {
    const wrong: [string, unknown][] = [
      ['UINT8', 256],
      ['UINT8', -1],
      ['UINT8', 1.5],
      ['INT32', 2 ** 31],
      ['INT64', 1.5],
      ['INT64', '9223372036854775808'],
      ['INT32', -(2 ** 31) - 1],
      ['FP32', 1e300],
      ['INT64', '1e3'],
      ['BOOL', 1],
      ['FP32', '1'],
      ['BYTES', 1],
      ['BYTES', 'half a pair: \ud83d'],
    ]
    for (const [datatype, value] of wrong) {
      expect(() => fromJsonTensor({ name: 'x', datatype, shape: [1], data: [value] } as JsonTensor)).toThrow(GranaryError)
    }
  })

  it('refuse text whose lengths lie', () => {
    const { data } = textTensor('text', ['abc'])
    for (const broken of [data.subarray(0, 3), data.subarray(0, 6), new Uint8Array([255, 255, 255, 255])]) {
      expect(() => checkTensor({ name: 'text', datatype: 'BYTES', shape: [1], data: broken })).toThrow(GranaryError)
    }
  })

  it('are committed to by content, whatever their order, and by salt', () => {
    fc.assert(
      fc.property(fc.array(fc.string(), { minLength: 1 }), fc.array(fc.string(), { minLength: 1 }), (one, two) => {
        const a = textTensor('a', one)
        const b = textTensor('b', two)
        const commitment = commitTensors([a, b], salt)
        expect(commitTensors([b, a], salt)).toBe(commitment)
        expect(commitTensors([a, b], `0x${'5b'.repeat(32)}`)).not.toBe(commitment)
        expect(commitTensors([textTensor('a', [...one, 'more']), b], salt)).not.toBe(commitment)
        expect(textsOf(a)).toEqual(one.map((text) => text.toWellFormed()))
      }),
    )
  })
})
