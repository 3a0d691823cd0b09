import { finish, runSolidityTests, runVitest } from './local/suites.ts'

/** `npm run test:long`: test/long, and the Solidity tests again with more runs and deeper sequences. */
const LIMIT_MS = 20 * 60_000

finish([
  await runVitest(['test/long'], LIMIT_MS),
  await runSolidityTests(['--config', 'scripts/hardhat-long.config.ts'], LIMIT_MS),
])
