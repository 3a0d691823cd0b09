import config from '../hardhat.config.ts'

/** The same contracts and tests with ten times the budget. */
export default {
  ...config,
  test: { solidity: { fuzz: { runs: 2560, seed: '0x6c6f6e67' }, invariant: { runs: 128, depth: 100, failOnRevert: true } } },
}
