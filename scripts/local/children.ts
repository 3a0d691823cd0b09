import { type ChildProcess, fork } from 'node:child_process'
import { closeSync, copyFileSync, existsSync, mkdirSync, openSync, renameSync, statSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Log } from '../../services/adapters/log.ts'
import { type ErrorCode, GranaryError } from '../../services/core/errors.ts'

/**
 * A process that is started again when it dies, also by kill -9. It says `ready` (runProcess does) each time; too many
 * deaths in a minute end it for good, with its reason.
 */
export interface Child {
  name: string
  pid(): number | undefined
  /** What it told when it was first ready, by event. */
  ready: Promise<Map<string, Record<string, unknown>>>
  /** Rejects when it is given up. */
  failed: Promise<never>
  stop(): Promise<void>
}

export interface ChildOptions {
  name: string
  module: string
  args?: readonly string[]
  env?: Record<string, string>
  logDir: string
  log: Log
  /** Called with every new process, so that a later start can find it. */
  onSpawn?: () => void
  readyTimeoutMs?: number
  stopTimeoutMs?: number
}

const DEATHS_PER_MINUTE = 10
const BACKOFF_MS = 150
const BACKOFF_LIMIT_MS = 5000
const LOG_LIMIT_BYTES = 20 * 1024 * 1024
const LOG_CHECK_MS = 30_000
/** Refusals that another attempt does not change. */
const FINAL: readonly string[] = ['config.invalid']

interface Message {
  event: string
  [fact: string]: unknown
}

export function startChild(options: ChildOptions): Child {
  const { name, log, readyTimeoutMs = 120_000, stopTimeoutMs = 15_000 } = options
  const ready = Promise.withResolvers<Map<string, Record<string, unknown>>>()
  const failed = Promise.withResolvers<never>()
  for (const { promise } of [ready, failed]) promise.catch(() => undefined)
  let current: ChildProcess | null = null
  const stopping = new AbortController()

  const run = async () => {
    const deaths: number[] = []
    while (!stopping.signal.aborted) {
      const { child, ended } = spawnOnce(options, ready.resolve)
      current = child
      options.onSpawn?.()
      const { why, refusal } = await ended
      current = null
      if (stopping.signal.aborted) return
      const now = performance.now()
      deaths.push(now)
      const recent = deaths.filter((at) => now - at < 60_000).length
      log.warn({ event: 'child.died', child: name, why, recent })
      if (recent > DEATHS_PER_MINUTE || (refusal && FINAL.includes(refusal.code))) throw givenUp(options, why, refusal)
      await delay(Math.min(BACKOFF_MS * 2 ** (recent - 1), BACKOFF_LIMIT_MS), undefined, { signal: stopping.signal }).catch(
        () => undefined,
      )
    }
  }
  const running = run().catch((error) => {
    failed.reject(error)
    ready.reject(error)
  })
  const late = setTimeout(() => {
    ready.reject(
      new GranaryError('internal', `${name} was not ready within ${readyTimeoutMs / 1000} s: see ${logFile(options)}.`),
    )
  }, readyTimeoutMs)
  ready.promise.then(
    () => clearTimeout(late),
    () => clearTimeout(late),
  )

  return {
    name,
    pid: () => current?.pid,
    ready: ready.promise,
    failed: failed.promise,
    async stop() {
      clearTimeout(late)
      stopping.abort()
      current?.kill('SIGTERM')
      const last = current
      const force = setTimeout(() => last?.kill('SIGKILL'), stopTimeoutMs)
      await running
      clearTimeout(force)
    },
  }
}

interface End {
  why: string
  refusal: { code: string; message: string } | null
}

function spawnOnce(options: ChildOptions, onReady: (told: Map<string, Record<string, unknown>>) => void) {
  const output = openLogFile(options)
  const child = fork(options.module, [...(options.args ?? [])], {
    env: { ...inherited(), ...options.env },
    execArgv: [],
    stdio: ['ignore', output, output, 'ipc'],
    // Out of the terminal's group: Ctrl-C is for the parent, which stops its children in order.
    detached: true,
  })
  closeSync(output)
  const told = new Map<string, Record<string, unknown>>()
  let refusal: End['refusal'] = null
  child.on('message', (message: Message) => {
    told.set(message.event, message)
    if (message.event === 'ready') onReady(told)
    if (message.event === 'failed') refusal = { code: String(message.code), message: String(message.message) }
  })
  const bound = setInterval(() => boundLog(options), LOG_CHECK_MS)
  bound.unref()
  const ended = new Promise<End>((resolve) => {
    child.once('error', (error) => resolve({ why: error.message, refusal }))
    child.once('exit', (code, signal) => resolve({ why: signal ?? `exit code ${code}`, refusal }))
  }).finally(() => clearInterval(bound))
  return { child, ended }
}

/** Settings reach a child only by its own options; of the shell it gets what programs need to run at all. */
function inherited(): Record<string, string> {
  const names = ['PATH', 'HOME', 'TMPDIR', 'LANG', 'TZ', 'LOG_LEVEL', 'SystemRoot']
  return Object.fromEntries(names.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])))
}

function givenUp(options: ChildOptions, why: string, refusal: End['refusal']): GranaryError {
  const reason = refusal?.message ?? `it keeps dying (${why})`
  const code = refusal?.code as ErrorCode | undefined
  const text = `The ${options.name} process does not run: ${reason} Its log: ${logFile(options)}`
  return new GranaryError(code === 'config.invalid' || code === 'start.port-in-use' ? code : 'internal', text)
}

function logFile({ logDir, name }: ChildOptions): string {
  return join(logDir, `${name}.log`)
}

/** Appending, so that a file cut to nothing is simply written on. The child writes itself: it outlives our pipes. */
function openLogFile(options: ChildOptions): number {
  mkdirSync(options.logDir, { recursive: true })
  return openSync(logFile(options), 'a', 0o600)
}

/** The log of the last start stays beside the new one. */
export function rotateLog(logDir: string, name: string): void {
  const path = join(logDir, `${name}.log`)
  if (existsSync(path)) renameSync(path, `${path}.1`)
}

function boundLog(options: ChildOptions): void {
  const path = logFile(options)
  if (!existsSync(path) || statSync(path).size < LOG_LIMIT_BYTES) return
  copyFileSync(path, `${path}.1`)
  truncateSync(path)
}
