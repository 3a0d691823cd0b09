import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { writeOnnx } from './onnx-writer.ts'
import { seededRandom, shuffle } from './random.ts'
import { decodeRows, digestOfShard, spamShards, spamSource } from './spam-corpus.ts'

/**
 * Trains the spam classifier: logistic regression on log word counts, scaled to length one per text. The whole of it is
 * in the ONNX file, which takes raw strings. Same shards, script and seed on the same Node: the same bytes.
 */
export interface Trained {
  onnx: Uint8Array
  metrics: { accuracy: number; precision: number; recall: number; majority: number; trainedOn: number; heldOut: number }
  rows: number
}

export const spamSeed = 7
export const spamScript = 'scripts/models/train-spam.ts'

const VOCABULARY = 4000
const MIN_TEXTS = 5
const EPOCHS = 12
const RATE = 0.5
const DECAY = 1e-6
const HELD_OUT = 0.2
/** In RE2's and JavaScript's common subset: the ONNX Tokenizer must cut words exactly as the training does. */
const WORD = '[a-z$!%]{2,20}'

/** A text as indices into the vocabulary and the value at each. */
interface Features {
  words: Int32Array
  values: Float64Array
}

interface Weights {
  words: Float32Array
  bias: number
}

/** Which rows train and which are held out, by the seed. The order of the shards does not matter. */
export function splitRows({ shards, seed }: { shards: readonly Uint8Array[]; seed: number }) {
  const ordered = [...shards].sort((a, b) => (digestOfShard(a) < digestOfShard(b) ? -1 : 1))
  const rows = ordered.flatMap((shard) => decodeRows(shard))
  const random = seededRandom(seed)
  const order = shuffle([...rows.keys()], random)
  const heldOut = order.slice(0, Math.floor(rows.length * HELD_OUT))
  if (heldOut.length === 0) throw new RangeError('too few rows to hold some out')
  return { rows, heldOut, training: order.slice(heldOut.length), random }
}

export function trainSpam(options: { shards: readonly Uint8Array[]; seed: number }): Trained {
  const { rows, heldOut, training, random } = splitRows(options)
  const tokens = rows.map(({ text }) => wordsOf(text))
  const vocabulary = chooseVocabulary(training.map((row) => tokens[row] ?? []))
  const positions = new Map(vocabulary.map((word, index) => [word, index]))
  const features = tokens.map((words) => featuresOf(words, positions))
  const labels = rows.map(({ label }) => (label === 'spam' ? 1 : 0))
  const weights = fitWeights({ features, labels, training, random, size: vocabulary.length })
  return {
    onnx: writeClassifier(vocabulary, weights),
    metrics: { ...evaluate(weights, { features, labels, rows: heldOut }), trainedOn: training.length, heldOut: heldOut.length },
    rows: rows.length,
  }
}

/** Names the code that made the model: this script and what it is built from. */
export function spamScriptDigest(): string {
  const hash = createHash('sha256')
  for (const name of ['train-spam.ts', 'spam-corpus.ts', 'onnx-writer.ts', 'random.ts']) {
    hash.update(
      createHash('sha256')
        .update(readFileSync(new URL(name, import.meta.url)))
        .digest(),
    )
  }
  return `0x${hash.digest('hex')}`
}

function wordsOf(text: string): string[] {
  return text.toLowerCase().match(new RegExp(WORD, 'g')) ?? []
}

/** The words that most training texts have; ties by the alphabet, so that the order is one. */
function chooseVocabulary(texts: readonly string[][]): string[] {
  const counts = new Map<string, number>()
  for (const words of texts) for (const word of new Set(words)) counts.set(word, (counts.get(word) ?? 0) + 1)
  return [...counts]
    .filter(([, count]) => count >= MIN_TEXTS)
    .sort(([a, countA], [b, countB]) => countB - countA || (a < b ? -1 : 1))
    .slice(0, VOCABULARY)
    .map(([word]) => word)
}

function featuresOf(words: readonly string[], positions: ReadonlyMap<string, number>): Features {
  const counts = new Map<number, number>()
  for (const word of words) {
    const position = positions.get(word)
    if (position !== undefined) counts.set(position, (counts.get(position) ?? 0) + 1)
  }
  const values = Float64Array.from(counts.values(), (count) => Math.log(1 + count))
  const length = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0)) || 1
  return { words: Int32Array.from(counts.keys()), values: values.map((value) => value / length) }
}

/** Stochastic gradient descent with AdaGrad's rate per weight. */
function fitWeights(options: {
  features: Features[]
  labels: number[]
  training: number[]
  random: () => number
  size: number
}): Weights {
  const { features, labels, training, random, size } = options
  const weights = { words: new Float32Array(size), bias: 0 }
  const squares = new Float32Array(size)
  let biasSquares = 0
  for (let epoch = 0; epoch < EPOCHS; epoch += 1) {
    for (const row of shuffle(training, random)) {
      const { words, values } = features[row] ?? noFeatures
      const error = probability(weights, { words, values }) - (labels[row] ?? 0)
      biasSquares += error * error
      weights.bias -= (RATE * error) / Math.sqrt(biasSquares + 1e-8)
      for (let at = 0; at < words.length; at += 1) {
        const word = words[at] ?? 0
        const weight = weights.words[word] ?? 0
        const gradient = error * (values[at] ?? 0) + DECAY * weight
        const square = (squares[word] ?? 0) + gradient * gradient
        squares[word] = square
        weights.words[word] = weight - (RATE * gradient) / Math.sqrt(square + 1e-8)
      }
    }
  }
  return weights
}

const noFeatures: Features = { words: new Int32Array(0), values: new Float64Array(0) }

function probability(weights: Weights, { words, values }: Features): number {
  let logit = weights.bias
  for (let at = 0; at < words.length; at += 1) logit += (weights.words[words[at] ?? 0] ?? 0) * (values[at] ?? 0)
  return 1 / (1 + Math.exp(-logit))
}

function evaluate(weights: Weights, { features, labels, rows }: { features: Features[]; labels: number[]; rows: number[] }) {
  let [right, truePositives, guessedPositives, positives] = [0, 0, 0, 0]
  for (const row of rows) {
    const guess = probability(weights, features[row] ?? noFeatures) >= 0.5 ? 1 : 0
    const label = labels[row] ?? 0
    if (guess === label) right += 1
    if (guess === 1 && label === 1) truePositives += 1
    guessedPositives += guess
    positives += label
  }
  const share = (part: number, whole: number) => (whole === 0 ? 0 : Math.round((part / whole) * 10_000) / 10_000)
  return {
    accuracy: share(right, rows.length),
    precision: share(truePositives, guessedPositives),
    recall: share(truePositives, positives),
    majority: share(Math.max(positives, rows.length - positives), rows.length),
  }
}

/** Raw strings in, probability of spam out. Locale C: lower-cases ASCII and needs no locale installed. */
function writeClassifier(vocabulary: readonly string[], { words, bias }: Weights): Uint8Array {
  return writeOnnx({
    name: 'spam-classifier',
    description: 'Probability that a text is spam, by logistic regression on word counts.',
    opsets: { '': 17, 'com.microsoft': 1 },
    metadata: { source: spamSource },
    inputs: [{ name: 'text', type: 'string', shape: ['texts'] }],
    outputs: [{ name: 'probability', type: 'float', shape: ['texts', 1] }],
    nodes: [
      {
        op: 'StringNormalizer',
        inputs: ['text'],
        outputs: ['lower'],
        attributes: { case_change_action: { text: 'LOWER' }, is_case_sensitive: { int: 1 }, locale: { text: 'C' } },
      },
      {
        op: 'Tokenizer',
        domain: 'com.microsoft',
        inputs: ['lower'],
        outputs: ['words'],
        attributes: { mark: { int: 0 }, mincharnum: { int: 1 }, pad_value: { text: '' }, tokenexp: { text: WORD } },
      },
      {
        op: 'TfIdfVectorizer',
        inputs: ['words'],
        outputs: ['counts'],
        attributes: {
          mode: { text: 'TF' },
          min_gram_length: { int: 1 },
          max_gram_length: { int: 1 },
          max_skip_count: { int: 0 },
          ngram_counts: { ints: [0] },
          ngram_indexes: { ints: vocabulary.map((_, index) => index) },
          pool_strings: { texts: vocabulary },
        },
      },
      { op: 'Add', inputs: ['counts', 'one'], outputs: ['shifted'] },
      { op: 'Log', inputs: ['shifted'], outputs: ['logs'] },
      { op: 'LpNormalization', inputs: ['logs'], outputs: ['features'], attributes: { axis: { int: 1 }, p: { int: 2 } } },
      { op: 'Gemm', inputs: ['features', 'weights', 'bias'], outputs: ['logit'] },
      { op: 'Sigmoid', inputs: ['logit'], outputs: ['probability'] },
    ],
    initializers: [
      { name: 'one', type: 'float', shape: [], values: [1] },
      { name: 'weights', type: 'float', shape: [vocabulary.length, 1], values: words },
      { name: 'bias', type: 'float', shape: [1], values: [bias] },
    ],
  })
}

if (import.meta.main) {
  const shards = spamShards()
  const { onnx, metrics, rows } = trainSpam({ shards: shards.map(({ bytes }) => bytes), seed: spamSeed })
  const datasets = shards.map(({ name, bytes, rows }) => ({ name, rows, rowsDigest: digestOfShard(bytes) }))
  const sha256 = createHash('sha256').update(onnx).digest('hex')
  console.log(JSON.stringify({ sha256: `0x${sha256}`, sizeBytes: onnx.length, rows, seed: spamSeed, datasets, metrics }, null, 2))
}
