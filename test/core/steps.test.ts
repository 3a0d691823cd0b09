import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { unitNames } from '../../services/core/manifest.ts'
import { countUnits } from '../../services/core/metering.ts'
import { openCommitment } from '../../services/core/running-commitment.ts'
import { MAX_STEPS, planSteps, type StepPlan } from '../../services/core/steps.ts'
import { commitTensors, floatTensor, joinBytes, type Tensor, textTensor } from '../../services/core/tensors.ts'

const texts = fc.array(fc.string({ unit: 'grapheme', maxLength: 2000 }), { minLength: 1, maxLength: 40 })
const inputs = fc.oneof(
  texts.map((values) => [textTensor('text', values)]),
  fc
    .array(fc.float({ noNaN: true }), { minLength: 1, maxLength: 200 })
    .map((values) => [floatTensor('audio', Float32Array.from(values), [values.length])]),
  fc.nat(30).map((rows) => [
    floatTensor('x', new Float32Array(3 * (rows + 1)).map(Math.random), [rows + 1, 3]),
    textTensor(
      't',
      Array.from({ length: 2 * (rows + 1) }, (_, i) => 'é'.repeat(i)),
      [rows + 1, 2],
    ),
  ]),
)
const size = fc.integer({ min: 1, max: 17 })

function planOf(manifest: Parameters<typeof planSteps>[0], given: readonly Tensor[]): StepPlan {
  const plan = planSteps(manifest, given)
  if (!plan) throw new Error('no plan')
  return plan
}

/** Joins steps along the first dimension, the plain way. */
function joined(steps: readonly Tensor[][]): Tensor[] {
  return (steps[0] ?? []).map((first) => {
    const parts = steps.map((step) => step.find(({ name }) => name === first.name) ?? first)
    const rows = parts.reduce((sum, { shape }) => sum + (shape[0] ?? 0), 0)
    return { ...first, shape: [rows, ...first.shape.slice(1)], data: joinBytes(parts.map(({ data }) => data)) }
  })
}

describe('a plan of steps', () => {
  it('cuts inputs so that the steps joined are the inputs again', () => {
    fc.assert(
      fc.property(inputs, size, (given, size) => {
        const plan = planOf({ steps: { size }, unit: 'row' }, given)
        const cuts = Array.from({ length: plan.steps }, (_, step) => plan.inputsOf(step))
        expect(joined(cuts)).toEqual(given)
        expect(cuts.slice(0, -1).every(([first]) => first?.shape[0] === size)).toBe(true)
      }),
    )
  })

  it('counts after each step what the request cut there would count, and in the end what the whole does', () => {
    fc.assert(
      fc.property(inputs, size, fc.constantFrom(...unitNames), (given, size, unit) => {
        fc.pre(unit !== 'kilochar' || given[0]?.datatype === 'BYTES')
        const plan = planOf({ steps: { size }, unit }, given)
        expect(plan.unitsAfter(0)).toBe(0n)
        const cuts: Tensor[][] = []
        for (let step = 0; step < plan.steps; step += 1) {
          cuts.push(plan.inputsOf(step))
          expect(plan.unitsAfter(step + 1)).toBe(countUnits(unit, joined(cuts)))
          expect(plan.unitsAfter(step + 1)).toBeGreaterThanOrEqual(plan.unitsAfter(step))
        }
        expect(plan.unitsAfter(plan.steps)).toBe(countUnits(unit, given))
        expect(plan.unitsAfter(plan.steps + 1)).toBe(countUnits(unit, given))
      }),
    )
  })

  it('is none without steps in the manifest, without rows, or where inputs differ in length', () => {
    const [three, two] = [floatTensor('a', new Float32Array(3), [3]), floatTensor('b', new Float32Array(2), [2])]
    expect(planSteps({ unit: 'row' }, [three])).toBeNull()
    expect(planSteps({ steps: { size: 1 }, unit: 'row' }, [floatTensor('a', new Float32Array(), [0])])).toBeNull()
    expect(planSteps({ steps: { size: 1 }, unit: 'row' }, [three, two])).toBeNull()
    expect(planSteps({ steps: { size: 1 }, unit: 'row' }, [])).toBeNull()
  })

  it('refuses more steps than anyone would sign', () => {
    const rows = (count: number) => [floatTensor('a', new Float32Array(count), [count])]
    expect(planSteps({ steps: { size: 2 }, unit: 'row' }, rows(2 * MAX_STEPS))?.steps).toBe(MAX_STEPS)
    expect(() => planSteps({ steps: { size: 2 }, unit: 'row' }, rows(2 * MAX_STEPS + 1))).toThrow(/split it/)
  })
})

describe('a running commitment', () => {
  const salt = `0x${'5a'.repeat(32)}`

  it('is after each step the commitment to all steps joined', () => {
    fc.assert(
      fc.property(inputs, size, (given, size) => {
        const plan = planOf({ steps: { size }, unit: 'row' }, given)
        const commitment = openCommitment()
        const steps: Tensor[][] = []
        for (let step = 0; step < plan.steps; step += 1) {
          steps.push(plan.inputsOf(step))
          commitment.add(plan.inputsOf(step).reverse())
          expect(commitment.value(salt)).toBe(commitTensors(joined(steps), salt))
        }
      }),
    )
  })

  it('refuses a step with other outputs than the first', () => {
    const first = [floatTensor('a', new Float32Array(2), [2]), floatTensor('b', new Float32Array(4), [2, 2])]
    const others: Tensor[][] = [
      first.slice(0, 1),
      [...first, floatTensor('c', new Float32Array(1), [1])],
      [floatTensor('a', new Float32Array(2), [2]), floatTensor('c', new Float32Array(4), [2, 2])],
      [floatTensor('a', new Float32Array(2), [2]), floatTensor('b', new Float32Array(4), [4])],
      [floatTensor('a', new Float32Array(2), [2]), { name: 'b', datatype: 'INT32', shape: [2, 2], data: new Uint8Array(16) }],
      [floatTensor('a', new Float32Array(1), []), floatTensor('b', new Float32Array(4), [2, 2])],
    ]
    for (const other of others) {
      const commitment = openCommitment()
      commitment.add(first)
      expect(() => commitment.add(other)).toThrow(/other outputs/)
    }
  })
})
