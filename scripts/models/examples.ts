import { readFileSync } from 'node:fs'
import { floatTensor, type Tensor, textTensor } from '../../services/core/tensors.ts'
import { decodePng } from './png.ts'
import { seededRandom } from './random.ts'

/** Inputs to try the models with. All of it is our own work: written, computed or drawn for this repository. */

export const hamTexts: readonly string[] = [
  'Hi Anna, the patch for the kernel module compiles now, but I still see the crash in the test suite. Can you look at line 42 before we merge?',
  'The meeting moved to Thursday at 3pm. Please bring the revised budget spreadsheet and the notes from last week.',
  'I tried the new release on my laptop and the install script fails because the library path is wrong. The log is attached.',
  'Thanks for the review. I split the function in two and wrote a test for the case that you mentioned. Does it read better now?',
]

export const spamTexts: readonly string[] = [
  'Congratulations! You have been selected for a FREE vacation. Click here now to claim your cash prize, no obligation!!!',
  'Lower your mortgage rate today! Refinance now, guaranteed approval, bad credit is no problem. 100% free quote.',
  'Make money fast from home! Earn $$$ every week with this amazing business opportunity. Order your free report today.',
  'Lose weight without a diet! Our natural product is guaranteed, money back. Limited time offer, order now and save.',
]

/** What the curl line sends. */
export const curlText = 'Win a free vacation! Click here now to claim your prize, guaranteed.'

export function spamInput(texts: readonly string[] = [...hamTexts, ...spamTexts]): Tensor[] {
  return [textTensor('text', texts)]
}

const SAMPLE_RATE = 16_000

/**
 * Something like a voice: a buzzing source through four resonances that wander between vowels, in syllables, between
 * `quietSeconds` of faint noise. Samples are multiples of 1/1024, which keeps them short as text.
 */
export function voiceInput({ seconds = 2, quietSeconds = 0.5, seed = 1 } = {}): Tensor[] {
  const random = seededRandom(seed)
  const quiet = Math.round(quietSeconds * SAMPLE_RATE)
  const samples = new Float32Array(quiet * 2 + Math.round(seconds * SAMPLE_RATE))
  const resonances = vowels[0].map(() => ({ last: 0, beforeLast: 0 }))
  let phase = 0
  for (let at = 0; at < samples.length; at += 1) {
    const noise = (random() - 0.5) * 0.004
    const time = (at - quiet) / SAMPLE_RATE
    const speaking = time >= 0 && time < seconds
    phase += (125 + 25 * Math.sin(2 * Math.PI * 0.7 * time) + 4 * random()) / SAMPLE_RATE
    const pulse = phase >= 1 ? 1 : 0
    phase -= pulse
    const loudness = speaking ? Math.max(0, Math.sin(Math.PI * ((time * SYLLABLES_PER_SECOND) % 1))) ** 0.5 : 0
    const source = loudness * (pulse + 0.03 * (random() - 0.5))
    const value = resonances.reduce((sum, resonance, index) => sum + resonate(resonance, source, formantAt(time, index)), 0)
    samples[at] = Math.round(Math.max(-1, Math.min(1, value * 0.25 + noise)) * 1024) / 1024
  }
  return [floatTensor('audio', samples, [samples.length])]
}

export function silenceInput(seconds = 1): Tensor[] {
  return [floatTensor('audio', new Float32Array(Math.round(seconds * SAMPLE_RATE)), [Math.round(seconds * SAMPLE_RATE)])]
}

const SYLLABLES_PER_SECOND = 4
/** Formants of a, i, o, e in Hz. */
const vowels = [
  [730, 1090, 2440, 3400],
  [270, 2290, 3010, 3700],
  [570, 840, 2410, 3300],
  [530, 1840, 2480, 3500],
] as const
const BANDWIDTH = 90

function formantAt(time: number, index: number): number {
  const place = Math.max(0, time) * SYLLABLES_PER_SECOND
  const [from, to] = [vowels[Math.floor(place) % vowels.length], vowels[(Math.floor(place) + 1) % vowels.length]]
  const [a = 500, b = 500] = [from?.[index], to?.[index]]
  return a + (b - a) * (place % 1)
}

/** A two-pole filter that rings at `frequency`. */
function resonate(memory: { last: number; beforeLast: number }, source: number, frequency: number): number {
  const radius = Math.exp((-Math.PI * BANDWIDTH) / SAMPLE_RATE)
  const turn = 2 * radius * Math.cos((2 * Math.PI * frequency) / SAMPLE_RATE)
  const value = source + turn * memory.last - radius * radius * memory.beforeLast
  memory.beforeLast = memory.last
  memory.last = value
  return value
}

/** A line of an invoice: "Total due: 1,284.50 EUR". */
export const invoiceLine = 'Total due: 1,284.50 EUR'

export function invoicePng(): Uint8Array {
  return readFileSync(new URL('fixtures/total-due.png', import.meta.url))
}

export function invoiceInput(): Tensor[] {
  return [decodePng(invoicePng())]
}

/** Small enough to live inside a manifest: "Granary 42". */
export function goldenLineInput(): Tensor[] {
  return [decodePng(readFileSync(new URL('fixtures/golden-line.png', import.meta.url)))]
}
