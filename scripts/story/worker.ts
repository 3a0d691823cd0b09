import { fork } from 'node:child_process'
import { openSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { GranaryError } from '../../services/core/errors.ts'

const main = resolve(import.meta.dirname, '..', '..', 'services', 'provider', 'main.ts')
const STOP_TIMEOUT_MS = 10_000

/** A provider's worker as a process of its own, with its own IPFS node; it ends with `dispose`, or with this process. */
export async function startWorker(options: {
  dir: string
  sessionPrivateKey: string
  gatewayUrl: string
  rpcUrl: string
  deployment: string
}): Promise<AsyncDisposable & { pid: number }> {
  const { dir, sessionPrivateKey, gatewayUrl, rpcUrl, deployment } = options
  await mkdir(dir, { recursive: true, mode: 0o700 })
  const keyFile = join(dir, 'session.key')
  await writeFile(keyFile, `${sessionPrivateKey}\n`, { mode: 0o600 })
  const log = openSync(join(dir, 'worker.log'), 'w')
  const child = fork(main, [], {
    stdio: ['ignore', log, log, 'ipc'],
    env: {
      ...process.env,
      GRANARY_KEY_FILE: keyFile,
      GRANARY_GATEWAY_URL: gatewayUrl,
      GRANARY_RPC_URL: rpcUrl,
      GRANARY_DEPLOYMENT: deployment,
      GRANARY_CONTENT_DIR: join(dir, 'content'),
      GRANARY_CONTENT_LISTEN: '/ip4/127.0.0.1/tcp/0',
    },
  })
  const { pid } = child
  if (pid === undefined) throw new GranaryError('internal', 'The worker could not be started.')
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  return {
    pid,
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS)
      await exited
      clearTimeout(timer)
    },
  }
}
