import config from '../hardhat.config.ts'

/** The same contracts and tests with four times the budget. */
export default {
  ...config,
  test: { solidity: { fuzz: { runs: 1024, seed: '0x6c6f6e67' }, invariant: { runs: 64, depth: 100, failOnRevert: true } } },
}
