import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import { torture } from './torture/torture.ts'

/** `npm run torture`: 1,000 faults under load, then the books; `-- --rounds 50 --seed 7 --keep` for fewer, again, with its logs kept. */
const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '1000' }, seed: { type: 'string' }, keep: { type: 'boolean', default: false } },
})
const rounds = Number(values.rounds)
const seed = Number(values.seed ?? randomInt(2 ** 31))

if (!Number.isSafeInteger(rounds) || rounds < 1 || !Number.isSafeInteger(seed)) {
  console.error('--rounds and --seed take whole numbers.')
  process.exit(2)
}
console.log(`Seed ${seed}`)
const report = await torture({ rounds, seed, keep: values.keep, onProgress: (line) => console.log(line) })
if (values.keep) console.log(`Logs: ${report.dir}`)
for (const finding of report.findings) console.error(`WRONG  ${finding}`)
const {
  faults,
  answered,
  lostAnswers,
  streams,
  wholeStreams,
  coinAnswers,
  coinRefusals,
  final,
  released,
  voided,
  refusals,
  findings,
} = report
console.log(JSON.stringify({ faults, refusals, coinRefusals }))
console.log(
  `${rounds} faults, ${answered} requests answered (${lostAnswers} answers lost on the way), ${streams} streams (${wholeStreams} to their receipt), ${coinAnswers} answers paid for by x402: ${final} FINAL, ${released} RELEASED, ` +
    `${Object.values(voided).reduce((sum, count) => sum + count, 0)} VOIDED ${JSON.stringify(voided)}; ${findings.length} wrong`,
)
process.exit(findings.length === 0 ? 0 : 1)
