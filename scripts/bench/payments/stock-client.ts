import { randomBytes } from 'node:crypto'
import { BatchSettlementEvmScheme } from '@x402/evm/batch-settlement/client'
import { wrapFetchWithPayment, x402Client } from '@x402/fetch'
import { Wallet } from 'ethers'

/** The stock client, one channel for each of `channels` loops, since a channel takes one request at a time. */
interface Order {
  port: number
  channels: number
  seconds: number
}

const buyers: ((input: string, init: RequestInit) => Promise<Response>)[] = []
const body = JSON.stringify({ model: 'no-op', inputs: { text: 'Lunch at noon? I have booked the table by the window.' } })

process.on('message', (order: Order) => {
  run(order).then(
    (load) => process.send?.(load),
    (error: Error) => process.send?.({ error: error.stack }),
  )
})
process.once('disconnect', () => process.exit(0))

async function run({ port, channels, seconds }: Order) {
  while (buyers.length < channels) buyers.push(openBuyer())
  const load = { answered: 0, failed: 0, failure: null as string | null }
  const until = performance.now() + seconds * 1000
  const loop = async (buy: (typeof buyers)[number]) => {
    while (performance.now() < until) {
      const answer = await buy(`http://127.0.0.1:${port}/v1/infer`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body,
      })
      const text = await answer.text()
      if (answer.ok) load.answered += 1
      else {
        load.failed += 1
        load.failure ??= `HTTP ${answer.status} ${answer.headers.get('payment-required') ?? ''} ${text}`.slice(0, 500)
      }
    }
  }
  await Promise.all(buyers.map(loop))
  return load
}

function openBuyer() {
  const wallet = Wallet.createRandom()
  const signer = {
    address: wallet.address as `0x${string}`,
    async signTypedData({ domain, types, message }: Parameters<SignTypedData>[0]) {
      const { EIP712Domain: _, ...named } = types as Record<string, { name: string; type: string }[]>
      return (await wallet.signTypedData(domain, named, message)) as `0x${string}`
    },
  }
  const salt = `0x${randomBytes(32).toString('hex')}` as const
  const client = new x402Client().register('eip155:*', new BatchSettlementEvmScheme(signer, { salt }))
  return wrapFetchWithPayment(fetch, client)
}

type SignTypedData = (message: {
  domain: Record<string, unknown>
  types: Record<string, unknown>
  primaryType: string
  message: Record<string, unknown>
}) => Promise<`0x${string}`>
