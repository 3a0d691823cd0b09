#!/usr/bin/env node
import { readFileSync, writeSync } from 'node:fs'
import { createRequire } from 'node:module'

// What forge takes for a native compiler, over npm's solc: there is no download, and no other compiler than Hardhat's.
const require = createRequire(import.meta.url)
const soljson = require(require.resolve('solc/soljson.js'))
const version = soljson.cwrap('solidity_version', 'string', [])()

if (process.argv.includes('--version')) {
  // forge asks for a version line of a native build.
  console.log(`solc, the solidity compiler commandline interface\nVersion: ${version.replace('Emscripten.clang', 'Linux.g++')}`)
} else if (process.argv.includes('--standard-json')) {
  const compile = soljson.cwrap('solidity_compile', 'string', ['string', 'number', 'number'])
  const output = Buffer.from(compile(readFileSync(0, 'utf8'), 0, 0))
  for (let offset = 0; offset < output.length; ) offset += writeSync(1, output, offset)
} else {
  console.error(`solc.mjs answers --version and --standard-json, not: ${process.argv.slice(2).join(' ')}`)
  process.exit(1)
}
