import { Granary } from '../../../services/sdk/index.ts'
import { type Buyer, openBuyer, openSession, payingHeaders } from './buyer.ts'
import { Connection } from './connection.ts'
import { type Command, type Load, MAX_LATENCIES, type Run } from './load-protocol.ts'
import { type EscrowFacts, UNIT_PRICE } from './wallets.ts'

/** The buyers' process: what it uses of the processor is nobody's cost. */
const SESSIONS_AT_ONCE = 16
const MAX_FAILURES = 1000

let facts: EscrowFacts | null = null
let port = 0
let rpcUrl = ''
let model = ''
const buyers = new Map<number, Buyer>()

process.on('message', ({ id, command }: { id: number; command: Command }) => {
  obey(command).then(
    (result) => process.send?.({ id, result }),
    (error: Error) => process.send?.({ id, error: error.stack ?? error.message }),
  )
})
process.once('disconnect', () => process.exit(0))

async function obey(command: Command): Promise<unknown> {
  switch (command.act) {
    case 'meet':
      facts = { ...command.facts, chainId: BigInt(command.facts.chainId) }
      port = command.port
      rpcUrl = command.rpcUrl
      model = command.model
      return null
    case 'sessions':
      return openSessions(command)
    case 'keys':
      for (const { payer, token } of command.tokens) buyerOf(payer).apiKey = token
      return null
    case 'sdk':
      return runSdk(command)
    case 'run':
      return run(command)
  }
}

function buyerOf(index: number): Buyer {
  if (!facts) throw new Error('the gateway is not known yet')
  const buyer = buyers.get(index) ?? openBuyer(index, facts)
  buyers.set(index, buyer)
  return buyer
}

async function openSessions({ first, accounts }: { first: number; accounts: number }): Promise<null> {
  const waiting = Array.from({ length: accounts }, (_, index) => buyerOf(first + index)).filter(({ session }) => session === null)
  const workers = Array.from({ length: SESSIONS_AT_ONCE }, async () => {
    const connection = await Connection.open(port)
    for (let buyer = waiting.pop(); buyer; buyer = waiting.pop()) await openSession(buyer, connection)
    connection.close()
  })
  await Promise.all(workers)
  return null
}

const body = () =>
  Buffer.from(JSON.stringify({ model, inputs: { text: 'Lunch at noon? I have booked the table by the window.' } }))

async function run(options: Run): Promise<Load> {
  const load: Load = { answered: 0, failed: 0, failure: null, latencies: [] }
  const connections = await Promise.all(Array.from({ length: options.connections }, () => Connection.open(port)))
  const chosen = Array.from({ length: options.accounts }, (_, index) => buyerOf(options.first + index))
  let next = 0
  const buy = async (connection: Connection, since = performance.now()) => {
    const buyer = chosen[next++ % chosen.length] as Buyer
    await send(connection, { buyer, options, load, since })
  }
  const until = performance.now() + options.seconds * 1000
  if (options.perSecond === null) {
    const loop = async (connection: Connection) => {
      while (performance.now() < until && load.failed < MAX_FAILURES) await buy(connection)
    }
    await Promise.all(connections.map(loop))
  } else await atRate({ perSecond: options.perSecond, until, connections, buy })
  for (const connection of connections) connection.close()
  return load
}

/**
 * A request's time runs from when it is sent, or, where all connections wait for answers, from when it should have been: a server that
 * stalls does not slow its own clock. Between two requests this process sleeps, or the server would have one core less.
 */
async function atRate(options: {
  perSecond: number
  until: number
  connections: Connection[]
  buy: (connection: Connection, since: number) => Promise<void>
}): Promise<void> {
  const { perSecond, until, connections, buy } = options
  const free = [...connections]
  const running = new Set<Promise<void>>()
  const started = performance.now()
  let isHeldUp = false
  for (let sent = 0; ; ) {
    const due = started + (sent * 1000) / perSecond
    if (due >= until) break
    const now = performance.now()
    if (now < due) {
      isHeldUp = false
      await new Promise((resolve) => setTimeout(resolve, due - now))
      continue
    }
    const connection = free.pop()
    if (!connection) {
      isHeldUp = true
      await Promise.race(running)
      continue
    }
    sent += 1
    const one = buy(connection, isHeldUp ? due : performance.now()).finally(() => {
      free.push(connection)
      running.delete(one)
    })
    running.add(one)
  }
  await Promise.all(running)
}

async function send(
  connection: Connection,
  { buyer, options, load, since }: { buyer: Buyer; options: Run; load: Load; since: number },
): Promise<void> {
  const request = { method: 'POST', path: options.mode === 'unpaid' ? '/bench/unpaid' : '/v1/infer', body: body() }
  try {
    const answer = await connection.send({ ...request, headers: headersOf(buyer, options.mode, request) })
    if (answer.status !== 200) throw new Error(`HTTP ${answer.status} ${answer.body.toString().slice(0, 400)}`)
    load.answered += 1
    if (load.latencies.length < MAX_LATENCIES) load.latencies.push(performance.now() - since)
  } catch (error) {
    load.failed += 1
    load.failure ??= String(error)
  }
}

function headersOf(buyer: Buyer, mode: Run['mode'], { path, body }: { path: string; body: Uint8Array }): Record<string, string> {
  if (mode === 'unpaid') return { 'content-type': 'application/json' }
  if (mode === 'key') return { 'content-type': 'application/json', authorization: `Bearer ${buyer.apiKey ?? ''}` }
  return payingHeaders(buyer, { mode, path, body, price: UNIT_PRICE })
}

/** The project's own client, as a developer uses it, with its checks of every receipt. */
async function runSdk({ payer, parallel, rounds }: { payer: number; parallel: number; rounds: number }): Promise<Load> {
  const { wallet, config } = buyerOf(payer).payer
  const granary = await Granary.open({ gatewayUrl: `http://127.0.0.1:${port}`, rpcUrl, wallet })
  const meter = await granary.account.meter({ maxPerRequest: UNIT_PRICE, config })
  const load: Load = { answered: 0, failed: 0, failure: null, latencies: [] }
  for (let round = 0; round < rounds; round += 1) {
    const since = performance.now()
    const bought = Array.from({ length: parallel }, () => meter.infer({ model, inputs: { text: `round ${round}` } }))
    for (const one of await Promise.allSettled(bought)) {
      if (one.status === 'fulfilled') load.answered += 1
      else {
        load.failed += 1
        load.failure ??= String(one.reason)
      }
    }
    load.latencies.push(performance.now() - since)
  }
  return load
}
