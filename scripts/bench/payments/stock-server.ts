import { createRequire } from 'node:module'
import type { AddressInfo, Server } from 'node:net'
import type { FacilitatorClient } from '@x402/core/server'
import { BatchSettlementEvmScheme } from '@x402/evm/batch-settlement/server'
import { paymentMiddleware, x402ResourceServer } from '@x402/express'

/**
 * The stock x402 server on Express, scheme batch-settlement, as its documentation sets it up: payment channels with cumulative
 * vouchers, kept in memory, nothing on disk. A facilitator inside this process stands for the chain: it grants the one deposit
 * that opens each channel; the vouchers after it the server checks by itself.
 */
const NETWORK = 'eip155:84532'
const RECEIVER = `0x${'12'.repeat(20)}` as const
const ANY_TRANSACTION = `0x${'ab'.repeat(32)}`
/** Lasts for the whole run: a deposit is no voucher. */
const DEPOSIT = '$1000'

type Middleware = ReturnType<typeof paymentMiddleware>
interface App {
  use(middleware: Middleware): void
  post(path: string, answer: (request: unknown, response: { json: (body: unknown) => void }) => void): void
  listen(port: number, host: string, ready: () => void): Server
}

interface Raw {
  type?: string
  channelConfig?: { payer: string }
  voucher?: { channelId: string; maxClaimableAmount: string }
  deposit?: { amount: string }
}

let deposits = 0

const facilitator = {
  async verify(payload: { payload: unknown }) {
    const { channelConfig, deposit } = payload.payload as Raw
    return { isValid: true, payer: channelConfig?.payer, extra: stateOf(deposit?.amount) }
  },
  async settle(payload: { payload: unknown }, { network, amount }: { network: string; amount: string }) {
    const { channelConfig, deposit, voucher } = payload.payload as Raw
    deposits += 1
    const extra = { channelState: { channelId: voucher?.channelId, ...stateOf(deposit?.amount) } }
    return { success: true, payer: channelConfig?.payer, transaction: ANY_TRANSACTION, network, amount, extra }
  },
  async getSupported() {
    const extra = { receiverAuthorizer: RECEIVER }
    return { kinds: [{ x402Version: 2, scheme: 'batch-settlement', network: NETWORK, extra }], extensions: [], signers: {} }
  },
}

function stateOf(balance = '0') {
  return { balance, totalClaimed: '0', withdrawRequestedAt: 0, refundNonce: '0' }
}

const server = new x402ResourceServer(facilitator as unknown as FacilitatorClient).register(
  NETWORK,
  new BatchSettlementEvmScheme(RECEIVER),
)
const accepts = {
  scheme: 'batch-settlement',
  network: NETWORK,
  payTo: RECEIVER,
  price: '$0.001',
  extra: { minDeposit: DEPOSIT },
} as const
// Express comes without types; these are what is used of it.
const express = createRequire(import.meta.url)('express') as { (): App; json: () => Middleware }
const app = express()
app.use(express.json())
app.use(paymentMiddleware({ 'POST /v1/infer': { accepts, description: 'Inference', mimeType: 'application/json' } }, server))
app.post('/v1/infer', (_request, response) => {
  response.json({ outputs: [{ name: 'label', datatype: 'BYTES', shape: [1], data: ['ham'] }] })
})
const listening = app.listen(0, '127.0.0.1', () => {
  process.send?.({ port: (listening.address() as AddressInfo).port })
})
process.on('message', () => process.send?.({ deposits }))
process.once('disconnect', () => process.exit(0))
