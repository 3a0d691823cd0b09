import { fork } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import type { Wallet } from 'ethers'
import { describe, expect, it, vi } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { decodeFrame, encodeFrame } from '../../services/adapters/dispatcher/frames.ts'
import { StepStream } from '../../services/adapters/dispatcher/step-stream.ts'
import { websocketOptions } from '../../services/adapters/dispatcher/transfer-channel.ts'
import { WebSocketHub } from '../../services/adapters/dispatcher/websocket-hub.ts'
import { WorkerLink } from '../../services/adapters/dispatcher/worker-link.ts'
import { decodeJob, encodeResult } from '../../services/adapters/dispatcher/worker-protocol.ts'
import { openLog } from '../../services/adapters/log.ts'
import type { JobStep } from '../../services/core/jobs.ts'
import { typedData } from '../../services/core/messages.ts'
import { type DispatcherSetup, dispatcherConformance } from './conformance/dispatcher.ts'
import { steppedDispatcherConformance } from './conformance/dispatcher-steps.ts'
import {
  CHAIN_TIME,
  escrow,
  GATEWAY,
  MODEL,
  newJob,
  newSessionKey,
  OPERATOR,
  providerRegistry,
  random32,
  reverse,
} from './support/jobs.ts'
import { reverseInSteps, steppedJob } from './support/steps.ts'

const log = openLog({ process: 'test', level: 'silent' })
const LIMITS = { timeoutMs: 20_000 }

async function openHub({ pingMs = 15_000 } = {}) {
  const known = new Set<string>()
  const hub = new WebSocketHub({
    gateway: GATEWAY,
    contentAddresses: () => ['/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWGzxzKZYveHXtpG6AsrUJBcWxHBFS2HsEoGTxrMLvKXtf'],
    providerRegistry,
    escrow,
    operatorOf: async (sessionKey) => (known.has(sessionKey) ? OPERATOR : null),
    chainTime: () => CHAIN_TIME,
    pingMs,
    log,
  })
  const server = createServer()
  const sockets = new WebSocketServer({ server, path: '/worker', ...websocketOptions })
  sockets.on('connection', (socket) => hub.accept(socket))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    hub,
    known,
    sockets,
    url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}/worker`,
    async [Symbol.asyncDispose]() {
      await hub[Symbol.asyncDispose]()
      for (const socket of sockets.clients) socket.terminate()
      server.closeAllConnections()
      server.close()
    },
  }
}

async function openSetup(): Promise<DispatcherSetup> {
  const opened = await openHub()
  const links: WorkerLink[] = []
  return {
    dispatcher: opened.hub,
    join: async ({ wallet, capacity, onJob, onSteps, known = true }) => {
      if (known) opened.known.add(wallet.address.toLowerCase())
      const before = new Set(opened.sockets.clients)
      const stepping = onSteps ? { onSteps } : {}
      const link = new WorkerLink({
        url: opened.url,
        wallet,
        providerRegistry,
        capacity,
        onJob,
        ...stepping,
        onWelcome: () => {},
        log,
      })
      link.setReady([MODEL])
      links.push(link)
      return {
        cutOff: () => {
          for (const socket of opened.sockets.clients) if (!before.has(socket)) socket.terminate()
        },
      }
    },
    async [Symbol.asyncDispose]() {
      await opened[Symbol.asyncDispose]()
      await Promise.all(links.map((link) => link[Symbol.asyncDispose]()))
    },
  }
}

dispatcherConformance('WebSockets over loopback', openSetup)
steppedDispatcherConformance('WebSockets over loopback', openSetup)

describe('a stream of steps', () => {
  it('takes no step beyond what was granted, nor beyond the last', async () => {
    const { job, plan } = steppedJob(3)
    const steps: JobStep[] = []
    for await (const { isLast: _, ...step } of reverseInSteps(newSessionKey())(job, {
      ...LIMITS,
      signal: new AbortController().signal,
    }))
      steps.push(step)
    const [first, second, third] = steps
    if (!first || !second || !third) throw new Error('three steps')
    const grants: number[] = []
    const parts = {
      job,
      plan,
      provider: OPERATOR,
      flawOf: () => null,
      sendGrant: (count: number) => grants.push(count),
      stop: () => {},
    }
    const stream = new StepStream({ ...parts, granted: 1 })
    expect([stream.admits(64), stream.admits(2 ** 20 + 1), stream.admits(0)]).toEqual([true, false, true])
    expect(stream.take(first)).toBeNull()
    expect(stream.admits(64)).toBe(false)
    expect(stream.take(second)).toMatch(/in place of 1/)
    stream.grant(99)
    expect(grants).toEqual([3])
    for (const step of [second, third]) expect(stream.take(step)).toBeNull()
    expect(stream.take({ ...third, index: 3 })).toMatch(/in place of 3/)
    expect(stream.ended).toBe(true)
  })
})

describe('a worker on a WebSocket', () => {
  it('killed with -9 in the middle of a job is gone at once', async () => {
    await using opened = await openHub()
    const wallet = newSessionKey()
    opened.known.add(wallet.address.toLowerCase())
    const child = fork(fileURLToPath(new URL('support/worker-process.ts', import.meta.url)), [opened.url, wallet.privateKey])
    try {
      await vi.waitFor(() => expect(opened.hub.workers()[0]?.ready.has(MODEL)).toBe(true), { timeout: 50_000 })
      const sent = opened.hub.send(opened.hub.workers()[0]?.workerId ?? '', newJob(), LIMITS)
      const outcome = expect(sent).rejects.toMatchObject({ code: 'provider.gone' })
      await once(child, 'message')
      const killedAt = performance.now()
      child.kill('SIGKILL')
      await outcome
      expect(performance.now() - killedAt).toBeLessThan(5_000)
      expect(opened.hub.workers()).toEqual([])
    } finally {
      child.kill('SIGKILL')
    }
  })

  it('learns the gateway and where its content is', async () => {
    await using opened = await openHub()
    const wallet = newSessionKey()
    opened.known.add(wallet.address.toLowerCase())
    const welcome = Promise.withResolvers<{ gateway: string; contentAddresses: string[] }>()
    await using _link = new WorkerLink({
      ...{ url: opened.url, wallet, providerRegistry, capacity: 1, log },
      onJob: () => new Promise(() => {}),
      onWelcome: welcome.resolve,
    })
    expect(await welcome.promise).toMatchObject({ gateway: GATEWAY, contentAddresses: [expect.stringContaining('/p2p/')] })
  })

  it('that answers twice is paid once and stays', async () => {
    await using opened = await openHub()
    const worker = await rawWorker(opened, (wallet, socket) => async ({ stream, header, body }) => {
      const { job } = decodeJob(header, body)
      const result = encodeResult(await reverse(wallet, job))
      for (let again = 0; again < 3; again++) sendTransfer(socket, stream, result)
    })
    for (let round = 0; round < 3; round++) {
      const { outputs } = await opened.hub.send(worker.workerId, newJob(), LIMITS)
      expect(outputs.length).toBe(1)
    }
    expect(opened.hub.workers().length).toBe(1)
  })

  it('that does not read is sent a bounded amount, and is given up while others work on', async () => {
    await using opened = await openHub({ pingMs: 300 })
    const slow = await rawWorker(opened, () => async () => {})
    slow.socket.pause()
    const sides = new Set(opened.sockets.clients)
    const wallet = newSessionKey()
    opened.known.add(wallet.address.toLowerCase())
    await using link = new WorkerLink({
      ...{ url: opened.url, wallet, providerRegistry, capacity: 4, log },
      onJob: (job) => reverse(wallet, job),
      onWelcome: () => {},
    })
    link.setReady([MODEL])
    await vi.waitFor(() => expect(opened.hub.workers().filter(({ ready }) => ready.has(MODEL)).length).toBe(2), {
      timeout: 10_000,
    })
    const data = new Uint8Array(2_000_000)
    const stuck = Array.from({ length: 32 }, () => opened.hub.send(slow.workerId, newJob(data), LIMITS))
    const outcomes = Promise.allSettled(stuck)
    for (const side of sides) expect(side.bufferedAmount).toBeLessThan(2 * 1024 * 1024)
    const other = opened.hub.workers().find(({ workerId }) => workerId !== slow.workerId)?.workerId ?? ''
    await opened.hub.send(other, newJob(data), LIMITS)
    for (const side of sides) expect(side.bufferedAmount).toBeLessThan(2 * 1024 * 1024)
    for (const outcome of await outcomes) expect(outcome).toMatchObject({ reason: { code: 'provider.gone' } })
    expect(opened.hub.workers().map(({ workerId }) => workerId)).toEqual([other])
  })

  it('that sends more than it announced, or nonsense, is hung up on', async () => {
    const breaches: ((socket: WebSocket) => void)[] = [
      (socket) => socket.send('text'),
      (socket) => socket.send(new Uint8Array([1])),
      (socket) => socket.send(new Uint8Array([99, 0, 0, 0, 0])),
      (socket) => socket.send(encodeFrame({ kind: 'control', message: { kind: 'hello' } })),
      (socket) => socket.send(encodeFrame({ kind: 'control', message: { kind: 'ready', models: ['x'] } })),
      (socket) => socket.send(new Uint8Array(300_000)),
    ]
    await using opened = await openHub()
    for (const breach of breaches) {
      const { socket } = await rawWorker(opened, () => async () => {})
      const closed = once(socket, 'close')
      breach(socket)
      await closed
    }
    const flooding = await rawWorker(opened, (_wallet, socket) => async ({ stream }) => {
      socket.send(encodeFrame({ kind: 'open', stream, bodyBytes: 1000, header: {} }))
      socket.send(encodeFrame({ kind: 'data', stream, bytes: new Uint8Array(1001) }))
    })
    await expect(opened.hub.send(flooding.workerId, newJob(), LIMITS)).rejects.toMatchObject({ code: 'provider.gone' })
    expect(opened.hub.workers()).toEqual([])
  })

  it('is refused when its hello was signed for another challenge or gateway', async () => {
    await using opened = await openHub()
    const wrongs: Record<string, string>[] = [
      { challenge: random32() },
      { gateway: `0x${'77'.repeat(20)}` },
      { sessionKey: `0x${'66'.repeat(20)}` },
    ]
    for (const wrong of wrongs) {
      const { socket, answered } = await dial(opened, newSessionKey(), wrong)
      expect(await answered).toMatchObject({ kind: 'refused' })
      await once(socket, 'close')
    }
    expect(opened.hub.workers()).toEqual([])
  })
})

type Opened = Awaited<ReturnType<typeof openHub>>
type Transfer = { stream: number; header: unknown; body: Uint8Array }

/** A worker without our own client: dials, says hello, and gives each whole job to `answers`. */
async function rawWorker(opened: Opened, answers: (wallet: Wallet, socket: WebSocket) => (job: Transfer) => Promise<void>) {
  const wallet = newSessionKey()
  opened.known.add(wallet.address.toLowerCase())
  const { socket, answered } = await dial(opened, wallet)
  const answer = answers(wallet, socket)
  const headers = new Map<number, unknown>()
  socket.on('message', (message: Buffer) => {
    const frame = decodeFrame(message)
    if (frame.kind === 'open') headers.set(frame.stream, frame.header)
    if (frame.kind === 'data') void answer({ stream: frame.stream, header: headers.get(frame.stream), body: frame.bytes })
  })
  const welcome = (await answered) as { workerId: string }
  socket.send(encodeFrame({ kind: 'control', message: { kind: 'ready', models: [MODEL] } }))
  await vi.waitFor(() => expect(opened.hub.workers().find(({ workerId }) => workerId === welcome.workerId)?.ready.size).toBe(1))
  return { socket, workerId: welcome.workerId }
}

async function dial(opened: Opened, wallet: Wallet, signedInstead: Record<string, string> = {}) {
  const socket = new WebSocket(opened.url, websocketOptions)
  socket.on('error', () => {})
  const [first] = await once(socket, 'message')
  const challenge = (decodeFrame(first) as { message: { challenge: string; gateway: string } }).message
  const sessionKey = wallet.address.toLowerCase()
  const signed = { sessionKey, challenge: challenge.challenge, gateway: challenge.gateway, ...signedInstead }
  const { domain, types, value } = typedData('ProviderRegistry', 'WorkerHello', providerRegistry, signed)
  const hello = {
    kind: 'hello',
    sessionKey,
    signature: await wallet.signTypedData(domain, types, value),
    capacity: 64,
    instance: random32().slice(2, 18),
  }
  const answered = once(socket, 'message').then(([message]) => (decodeFrame(message) as { message: unknown }).message)
  socket.send(encodeFrame({ kind: 'control', message: hello }))
  return { socket, answered }
}

function sendTransfer(socket: WebSocket, stream: number, { header, body }: { header: unknown; body: Uint8Array[] }): void {
  const bytes = Buffer.concat(body)
  socket.send(encodeFrame({ kind: 'open', stream, bodyBytes: bytes.length, header }))
  socket.send(encodeFrame({ kind: 'data', stream, bytes }))
}
