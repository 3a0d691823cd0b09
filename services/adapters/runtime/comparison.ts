import { type Tensor, toJsonTensor } from '../../core/tensors.ts'

export interface Difference {
  tensor: string
  why: string
  /** Largest difference and what was allowed, where numbers differ. */
  difference?: number
  allowed?: number
}

/**
 * What is different, or null. Floats may differ by `tolerance` times the tensor's largest expected magnitude (bits and
 * single values close to zero mean nothing between machines); everything else must be equal.
 */
export function compareTensors(expected: readonly Tensor[], actual: readonly Tensor[], tolerance: number): Difference | null {
  for (const wanted of expected) {
    const given = actual.find(({ name }) => name === wanted.name)
    const difference = given ? compareTensor(wanted, given, tolerance) : { tensor: wanted.name, why: 'missing' }
    if (difference) return difference
  }
  const extra = actual.find(({ name }) => !expected.some((wanted) => wanted.name === name))
  return extra ? { tensor: extra.name, why: 'not expected' } : null
}

function compareTensor(expected: Tensor, actual: Tensor, tolerance: number): Difference | null {
  const tensor = expected.name
  if (expected.datatype !== actual.datatype) return { tensor, why: `${actual.datatype} instead of ${expected.datatype}` }
  if (expected.shape.join() !== actual.shape.join())
    return { tensor, why: `shape [${actual.shape}] instead of [${expected.shape}]` }
  const [wanted, given] = [toJsonTensor(expected).data, toJsonTensor(actual).data]
  if (expected.datatype !== 'FP32' && expected.datatype !== 'FP64') {
    return wanted.every((value, index) => value === given[index]) ? null : { tensor, why: 'other values' }
  }
  return compareFloats({ tensor, wanted: wanted as number[], given: given as number[], tolerance })
}

function compareFloats(options: { tensor: string; wanted: number[]; given: number[]; tolerance: number }): Difference | null {
  const { tensor, wanted, given, tolerance } = options
  let [largest, difference] = [0, 0]
  for (const [index, value] of wanted.entries()) {
    const other = given[index] ?? Number.NaN
    if (Object.is(value, other) || value === other)
      largest = Number.isFinite(value) ? Math.max(largest, Math.abs(value)) : largest
    else if (!Number.isFinite(value) || !Number.isFinite(other)) return { tensor, why: `${other} instead of ${value}` }
    else {
      largest = Math.max(largest, Math.abs(value))
      difference = Math.max(difference, Math.abs(value - other))
    }
  }
  const allowed = tolerance * largest
  return difference <= allowed ? null : { tensor, why: 'other values', difference, allowed }
}
