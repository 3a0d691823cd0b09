import type { InferAnswer, InferBody } from '../core/api.ts'
import { DEFAULT_PURPOSE, purposeNames } from '../core/consent.ts'
import { commitTensors, fromJsonTensor, type JsonTensor, type Tensor } from '../core/tensors.ts'

/**
 * What in an answer belongs to another request than the one that was made, in a few words; null where nothing shows. Inputs are held
 * against the provider's commitment where the request alone says their bytes: numbers, pictures and sounds in their short forms
 * become tensors by the model's manifest, which the asker need not have.
 */
export function strayOf({ id, model, modelId, purpose, receipt }: Omit<InferAnswer, 'outputs'>, asked: InferBody): string | null {
  const { job, inputSalt } = receipt
  if (job.jobId !== id) return 'it is for another job'
  if (asked.model !== modelId && asked.model !== model) return 'it is for another model'
  const wanted = asked.purpose ?? DEFAULT_PURPOSE
  const bit = (purposeNames as readonly string[]).indexOf(wanted)
  // Governance may have added purposes since this list was written.
  if (purpose !== wanted || (bit >= 0 && job.purpose !== bit)) return 'it is for another purpose'
  const inputs = tensorsOf(asked.inputs)
  if (inputs && commitTensors(inputs, inputSalt) !== job.inputCommitment) return 'it is for other inputs'
  return null
}

function tensorsOf(inputs: InferBody['inputs']): Tensor[] | null {
  // As they went: JSON knows no minus zero.
  if (Array.isArray(inputs)) return (JSON.parse(JSON.stringify(inputs)) as JsonTensor[]).map((input) => fromJsonTensor(input))
  const tensors = Object.entries(inputs).map(([name, value]) => {
    const texts = Array.isArray(value) ? value : [value]
    if (!texts.every(isText)) return null
    return fromJsonTensor({ name, datatype: 'BYTES', shape: [texts.length], data: texts })
  })
  return tensors.every((tensor) => tensor !== null) ? tensors : null
}

/** Large integers are written as strings too. */
function isText(value: unknown): value is string {
  return typeof value === 'string' && !/^-?\d+$/.test(value)
}
