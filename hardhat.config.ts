import { createRequire } from 'node:module'
import hardhatEthers from '@nomicfoundation/hardhat-ethers'
import hardhatIgnitionEthers from '@nomicfoundation/hardhat-ignition-ethers'
import { defineConfig } from 'hardhat/config'

// Hardhat does not resolve a compiler `path` against the project: it must be absolute. npm's solc needs no download.
const solcPath = createRequire(import.meta.url).resolve('solc/soljson.js')
const compiler = {
  version: '0.8.34',
  path: solcPath,
  settings: { evmVersion: 'cancun', optimizer: { enabled: true, runs: 2000 }, viaIR: false },
} as const

export default defineConfig({
  plugins: [hardhatEthers, hardhatIgnitionEthers],
  // One profile for deployment and tests, so that nothing compiles twice and tests run the deployed bytecode.
  solidity: { profiles: { default: compiler, production: compiler } },
  paths: { tests: { solidity: './test/contracts' } },
  networks: {
    dev: { type: 'edr-simulated', chainType: 'l1', chainId: 31337 },
    deployment: { type: 'http', chainType: 'l1', url: process.env.RPC_URL ?? 'http://127.0.0.1:8545' },
  },
  test: { solidity: { fuzz: { runs: 256, seed: '0x6772616e617279' }, invariant: { runs: 32, depth: 50, failOnRevert: true } } },
})
