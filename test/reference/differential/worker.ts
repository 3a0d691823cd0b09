import { parseArgs } from 'node:util'
import type { Counts } from './counts.ts'
import { openPlayer } from './history.ts'
import { openWorld } from './world.ts'

/** Plays histories `--from` to below `--to` of a seed; the last line of its output is what came of it. */
const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: 'granary' },
    from: { type: 'string', default: '0' },
    to: { type: 'string', default: '1' },
  },
})

const world = await openWorld()
const counts: Counts = new Map()
const player = await openPlayer(world, counts)
const started = performance.now()
let failure = null
for (let number = Number(values.from); number < Number(values.to) && failure === null; number++) {
  failure = await player.play(values.seed, number)
}
if (failure !== null) failure = await player.shorten(failure)
await world.chain.close()
const outcome = { counts: Object.fromEntries(counts), failure, seconds: (performance.now() - started) / 1000 }
console.log(JSON.stringify(outcome, (_, value) => (typeof value === 'bigint' ? `${value}` : value)))
