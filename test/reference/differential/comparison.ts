import type { Cooperative } from '../model/cooperative.ts'
import { unexplained } from '../model/dust.ts'
import { type Question, questionsOf, wordsOf } from './questions.ts'
import type { Random } from './random.ts'
import type { World } from './world.ts'

/** Of questions in one call: what a node lets a call cost stays far away. */
const CHUNK = 150

/** Where the contracts show something else than the model knows, and what rounding does not explain. */
export async function differences(
  world: World,
  cooperative: Cooperative,
  random: Random,
): Promise<{ asked: number; wrong: string[] }> {
  const questions = questionsOf(world, cooperative, random)
  const wrong = unexplained(cooperative)
  for (let from = 0; from < questions.length; from += CHUNK) {
    wrong.push(...(await askAll(world, questions.slice(from, from + CHUNK))))
  }
  return { asked: questions.length, wrong }
}

async function askAll({ chain }: World, questions: readonly Question[]): Promise<string[]> {
  const packed = questions.map(({ contract, call, answers }) => {
    const [first = ''] = answers
    const sizes = [(call.length - 2) / 2, answers.length, first.length / 2].map((size) => size.toString(16).padStart(4, '0'))
    return [chain.addresses[contract].slice(2), ...sizes, call.slice(2), ...answers].join('')
  })
  const data = packed.join('')
  const argument = wordsOf([32, data.length / 2]) + data.padEnd(Math.ceil(data.length / 64) * 64, '0')
  const answer = await chain.call(chain.addresses.Probe, chain.selector('Probe', 'ask') + argument)
  return readWrong(bytesIn(answer), questions)
}

/** Of an answer that is one `bytes`: where it begins, its length, itself. */
function bytesIn(answer: string): string {
  return answer.slice(130, 130 + Number(`0x${answer.slice(66, 130)}`) * 2)
}

function readWrong(hex: string, questions: readonly Question[]): string[] {
  const wrong: string[] = []
  for (let at = 0; at < hex.length; ) {
    const question = questions[Number(`0x${hex.slice(at, at + 8)}`)]
    const length = Number(`0x${hex.slice(at + 8, at + 16)}`) * 2
    const shown = hex.slice(at + 16, at + 16 + length)
    wrong.push(`${question?.label} is ${readable(shown)}, the model says ${question?.answers.map(readable).join(' or ')}`)
    at += 16 + length
  }
  return wrong
}

/** Small numbers as numbers, the rest as it is. */
function readable(words: string): string {
  const list = words.match(/.{64}/g) ?? [words]
  return `[${list.map((word) => (/^0{40}/.test(word) ? BigInt(`0x${word}`).toString() : `0x${word.replace(/^0+/, '')}`)).join(', ')}]`
}
