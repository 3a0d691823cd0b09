import type { EmbeddingsBody, InferAnswer, InferBody } from '../core/api.ts'
import { GranaryError } from '../core/errors.ts'
import type { ModelManifest } from '../core/manifest.ts'

/** What of a model OpenAI's embeddings can be: one list of texts in, one row of numbers for each out. */
export interface EmbeddingTensors {
  input: string
  output: string
  /** -1: as many as the model gives. */
  width: number
}

/** null for a model that is none: its output must say so by its name, as other numbers mean other things. */
export function embeddingTensorsOf({ inputs, outputs }: ModelManifest): EmbeddingTensors | null {
  const [input] = inputs
  const output = outputs.find(({ name }) => name === 'embedding')
  if (!input || inputs.length !== 1 || input.datatype !== 'BYTES' || input.shape.length !== 1) return null
  const [, width = 0] = output?.shape ?? []
  if (output?.datatype !== 'FP32' || output.shape.length !== 2) return null
  return { input: input.name, output: output.name, width }
}

/** The request in our own words. `dimensions` other than the model's would need another model. */
export function inferBodyOf(
  body: EmbeddingsBody,
  manifest: ModelManifest,
  scope: { purpose: string | undefined; jurisdiction: string | undefined },
): InferBody {
  const tensors = embeddingTensorsOf(manifest)
  if (!tensors) throw new GranaryError('input.invalid', `Model ${manifest.name} makes no embeddings.`, { model: manifest.name })
  if (body.dimensions !== undefined && body.dimensions !== tensors.width) {
    throw new GranaryError('input.invalid', `Embeddings of ${manifest.name} have ${tensors.width} dimensions.`, {
      dimensions: tensors.width,
    })
  }
  const { purpose, jurisdiction } = scope
  return {
    model: body.model,
    inputs: { [tensors.input]: body.input },
    ...(purpose === undefined ? {} : { purpose }),
    ...(jurisdiction === undefined ? {} : { jurisdiction }),
  }
}

/** OpenAI's answer around ours: clients by default ask for base64 of little-endian float32, and read nothing else then. */
export function embeddingsOf(answer: InferAnswer, { model, encoding_format = 'float' }: EmbeddingsBody): Record<string, unknown> {
  const { outputs, units } = answer
  const output = outputs.find(({ name }) => name === 'embedding')
  const [rows = 0, width = 0] = output?.shape ?? []
  const values = Float32Array.from((output?.data ?? []).map(Number))
  if (values.length !== rows * width || values.length === 0)
    throw new GranaryError('provider.failed', 'The model gave no row of numbers for each text.')
  const data = Array.from({ length: rows }, (_, index) => {
    const row = values.subarray(index * width, (index + 1) * width)
    return { object: 'embedding', index, embedding: encoding_format === 'base64' ? base64Of(row) : [...row] }
  })
  const { id, charged, receipt } = answer
  // Tokens are OpenAI's unit; here the model's own units stand in their place.
  const usage = { prompt_tokens: Number(units), total_tokens: Number(units) }
  return { object: 'list', data, model, usage, granary: { id, units, charged, receipt } }
}

function base64Of(row: Float32Array): string {
  const bytes = Buffer.alloc(4 * row.length)
  row.forEach((value, index) => {
    bytes.writeFloatLE(value, 4 * index)
  })
  return bytes.toString('base64')
}
