import { type Cooperative, epochAt } from '../model/cooperative.ts'
import type { Ask, Question } from './questions.ts'

/** Income, pulls, pots and payouts of every epoch in which something happened, and of the present one. */
export function royaltyQuestions(cooperative: Cooperative, ask: Ask): Question[] {
  const { models, income, pulled, pots, paid, drawn, usedSignatures, rules, now } = cooperative
  const about = 'RoyaltyLedger'
  const present = epochAt(rules, now)
  const questions: Question[] = [...usedSignatures].map((digest) => ask(about, 'isUsed', [digest], [true]))
  for (const { id, payees } of models.values()) {
    const epochs = new Set([present])
    for (const name of income.keys()) if (name.startsWith(id)) epochs.add(Number(name.split(' ')[1]))
    for (const epoch of epochs) {
      questions.push(ask(about, 'income', [id, epoch], [income.get(`${id} ${epoch}`) ?? 0n]))
      for (const index of payees.keys()) {
        const amount = pulled.get(`${id} ${index} ${epoch}`) ?? 0n
        questions.push(ask(about, 'pulled', [id, index, epoch], [amount]))
      }
    }
  }
  for (const [name, amount] of pots) {
    const [payeeId = '', epoch = ''] = name.split(' ')
    questions.push(ask(about, 'pool', [payeeId, Number(epoch)], [amount]))
    questions.push(ask(about, 'paid', [payeeId, Number(epoch)], [paid.get(name) ?? 0n]))
  }
  for (const [name, amount] of drawn) {
    const [payeeId = '', epoch = '', account = ''] = name.split(' ')
    questions.push(ask(about, 'drawn', [payeeId, Number(epoch), account], [amount]))
  }
  return questions
}
