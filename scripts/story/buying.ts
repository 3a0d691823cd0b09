import { GranaryError } from '../../services/core/errors.ts'
import { formatDollars } from '../../services/core/money.ts'
import { floatsOf, fromJsonTensor, type JsonTensor, type Tensor, toJsonTensor } from '../../services/core/tensors.ts'
import type { InferAnswer, InferBody } from '../../services/sdk/index.ts'
import type { Meter } from '../../services/sdk/meter.ts'
import { hamTexts, invoiceInput, spamTexts, voiceInput } from '../models/examples.ts'
import { DEPOSIT, DOLLAR, type Purchases, type Shelf, type Telling } from './telling.ts'
import { type Person, until } from './world.ts'

const texts = [...hamTexts, ...spamTexts]
const PARALLEL = 8

/** Chapter 4: an unpaid call is told how to pay; then some hundred inferences by voucher and by API key. */
export async function buyInferences(telling: Telling, models: Shelf): Promise<Purchases> {
  const { cast, options, print } = telling
  const { developer } = cast
  const { byVoucher, byKey } = options.purchases ?? { byVoucher: 150, byKey: 100 }
  const meter = await fundAccount(telling)
  const refusal = await refusalOf(() => unpaid(developer, models.spam.modelId))
  if (refusal.status !== 402) throw refusal
  print('infer', `an unpaid call: ${refusal.status} ${refusal.code}`)

  const buy = (index: number) => meter.infer(textBody(models.spam.modelId, index))
  const half = Math.floor(byVoucher / 2)
  const first = await inParallel(half, buy)
  await options.interrupt?.('buying')
  const labels = labelsOf([...first, ...(await inParallel(byVoucher - half, buy))])
  const count = (label: string) => labels.filter((each) => each === label).length
  print('infer', `${labels.length} mails bought by voucher: ${count('spam')} spam, ${count('ham')} ham`)

  const voice = await meter.infer(tensorBody(models.voice.modelId, voiceInput()))
  const ocr = await meter.infer(tensorBody(models.ocr.modelId, invoiceInput()))
  print(
    'infer',
    `speech heard with probability ${mostProbable(voice).toFixed(2)} in ${voice.units} s of audio; a picture reads "${String(ocr.outputs[0]?.data[0])}"`,
  )

  const { apiKey } = await developer.granary.account.createApiKey({ cap: 2n * DOLLAR, lifeSeconds: 3600, label: 'story' })
  await until('the key to be confirmed', () => isAccepted(developer, { apiKey, model: models.spam.modelId }), 30_000)
  await inParallel(byKey - 1, (index) => developer.granary.infer(textBody(models.spam.modelId, index), { apiKey }))
  print('infer', `${byKey} more by API key`)
  return { meter, count: byVoucher + byKey + 2 }
}

async function fundAccount({ world, cast, print }: Telling): Promise<Meter> {
  const { developer } = cast
  await world.giveDollars(developer, DEPOSIT)
  const { transaction } = await developer.granary.account.deposit(DEPOSIT)
  world.note(developer.name, 'deposits by signature', transaction)
  const meter = await developer.granary.account.meter({ maxPerRequest: DOLLAR })
  await until('the deposit to be confirmed', async () => (await meter.standing())?.deposit === String(DEPOSIT), 30_000)
  print('infer', `${developer.name} deposits ${formatDollars(DEPOSIT)} by signature, without gas`)
  return meter
}

export function textBody(model: string, index: number): InferBody {
  return { model, inputs: { text: texts[index % texts.length] ?? '' } }
}

export function tensorBody(model: string, inputs: readonly Tensor[]): InferBody {
  return { model, inputs: inputs.map(toJsonTensor) }
}

/** The refusal that an act must end with. */
export async function refusalOf(act: () => Promise<unknown>): Promise<GranaryError> {
  try {
    await act()
  } catch (error) {
    if (error instanceof GranaryError) return error
    throw error
  }
  throw new GranaryError('internal', 'A call that had to be refused was answered.')
}

function unpaid(developer: Person, model: string): Promise<unknown> {
  return developer.granary.context.http.json({ method: 'POST', path: '/v1/infer', body: textBody(model, 0) })
}

async function isAccepted(developer: Person, { apiKey, model }: { apiKey: string; model: string }): Promise<boolean> {
  try {
    await developer.granary.infer(textBody(model, 0), { apiKey })
    return true
  } catch (error) {
    if (error instanceof GranaryError && (error.code === 'credential.ended' || error.code === 'account.unknown')) return false
    throw error
  }
}

function labelsOf(answers: readonly InferAnswer[]): unknown[] {
  return answers.flatMap(({ outputs }) => outputs.find(({ name }) => name === 'label')?.data ?? [])
}

function mostProbable({ outputs }: InferAnswer): number {
  const probability = outputs.find(({ name }) => name === 'probability') as JsonTensor | undefined
  return probability ? Math.max(...floatsOf(fromJsonTensor(probability))) : 0
}

async function inParallel<T>(count: number, act: (index: number) => Promise<T>): Promise<T[]> {
  const results: T[] = []
  let next = 0
  const lane = async () => {
    while (next < count) {
      const index = next++
      results[index] = await act(index)
    }
  }
  await Promise.all(Array.from({ length: Math.min(PARALLEL, count) }, lane))
  return results
}
