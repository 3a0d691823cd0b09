import { readFileSync } from 'node:fs'
import { type Look, type Result, Runner } from './runner.ts'
import type { Compiled } from './sources.ts'

/** A process of its own, so that a mutant that never comes to an end can be ended with it. */
export interface Order {
  mutant: number
  looks: readonly Look[]
  /** Otherwise the looks end at the first test that fails. */
  everything: boolean
}

const [path = ''] = process.argv.slice(2)
const runner = await Runner.open(JSON.parse(readFileSync(path, 'utf8')) as Compiled)

process.on('message', (order: Order) => {
  answer(order).then(
    (results) => process.send?.({ results }),
    (error: unknown) => process.send?.({ error: String(error) }),
  )
})
process.on('disconnect', () => process.exit(0))
process.send?.({ ready: true })

async function answer({ mutant, looks, everything }: Order): Promise<Result[]> {
  const results: Result[] = []
  for (const look of looks) {
    results.push(...(await runner.run(mutant, look)))
    if (!everything && results.some(({ ok }) => !ok)) break
  }
  return results
}
