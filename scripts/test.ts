import { finish, runSolidityTests, runVitest } from './local/suites.ts'

/** `npm test`: everything but the long suites. Arguments go to vitest and leave out the Solidity tests. */
const LIMIT_MS = 25 * 60_000
const args = process.argv.slice(2)

if (args.length > 0) finish([await runVitest(args, LIMIT_MS)])
// The Solidity tests first: they compile what test/messages.test.ts calls.
finish([await runSolidityTests([], LIMIT_MS), await runVitest(['--exclude', 'test/long/**'], LIMIT_MS)])
