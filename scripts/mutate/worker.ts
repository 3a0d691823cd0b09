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

const LOOK_EVERY_MS = 100

const [path = '', mostBytes = ''] = process.argv.slice(2)
const runner = await Runner.open(JSON.parse(readFileSync(path, 'utf8')) as Compiled)
let isBusy = false

process.on('message', (order: Order) => {
  isBusy = true
  answer(order).then(
    (results) => tell({ results, isLarge: process.memoryUsage.rss() > Number(mostBytes) / 2 }),
    (error: unknown) => tell({ error: String(error) }),
  )
})
// The runner works in threads of its own, so this looks on while it does.
setInterval(() => {
  if (isBusy && process.memoryUsage.rss() > Number(mostBytes)) tell({ isTooLarge: true })
}, LOOK_EVERY_MS)
process.on('disconnect', () => process.exit(0))
process.send?.({ ready: true })

function tell(message: object): void {
  isBusy = false
  process.send?.(message)
}

async function answer({ mutant, looks, everything }: Order): Promise<Result[]> {
  const results: Result[] = []
  for (const look of looks) {
    results.push(...(await runner.run(mutant, look)))
    if (!everything && results.some(({ ok }) => !ok)) break
  }
  return results
}
