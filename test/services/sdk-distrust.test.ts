import { keccak256, toBeHex, Wallet } from 'ethers'
import { describe, expect, it } from 'vitest'
import { accountIdOf, NO_USAGE } from '../../services/core/accounts.ts'
import type { InferAnswer, ReceiptBody } from '../../services/core/api.ts'
import { errorOfProblem, GranaryError } from '../../services/core/errors.ts'
import { receiptsRoot } from '../../services/core/merkle.ts'
import { digestOf, digestOfStruct } from '../../services/core/messages.ts'
import { headOf, type PublishedReceipt } from '../../services/core/published-batch.ts'
import { signedDigestOf, signReceipts } from '../../services/core/receipt-signature.ts'
import { x25519PublicKey } from '../../services/core/sessions.ts'
import { commitTensors, floatTensor, textTensor } from '../../services/core/tensors.ts'
import { type AccountReceipt, auditReceipts, type ReceiptsFile } from '../../services/sdk/audit.ts'
import { type Http, type HttpRequest, openHttp } from '../../services/sdk/http.ts'
import { Meter } from '../../services/sdk/meter.ts'
import { checkReceipt } from '../../services/sdk/receipts.ts'
import { openHttpServer } from './support/http-server.ts'

const hex = (byte: string, bytes = 32) => `0x${byte.repeat(bytes)}`
const escrow = { chainId: 1n, address: hex('e5', 20) }
const token = hex('70', 20)
const [provider, payer, seller] = [new Wallet(hex('11')), new Wallet(hex('22')), new Wallet(hex('33'))]
const collector = seller.address.toLowerCase()
const config = { payer: payer.address.toLowerCase(), collector, thawSeconds: 600, salt: NO_USAGE }
const accountId = accountIdOf(config, { ...escrow, token })

/** What a payer's side sees through without believing the gateway. */
describe('the SDK', () => {
  it('refuses receipts that charge one job twice, each of them signed, chained and on the chain', async () => {
    const [first, second] = [receiptAfter(null, hex('01')), receiptAfter(null, hex('01'))]
    const next = receiptAfter(first, hex('02'))
    const again = receiptAfter(first, second.job.jobId)
    expect(await audit([first, next])).toMatchObject({ receipts: 2, settled: 14n })
    await expect(audit([first, again])).rejects.toMatchObject({ code: 'receipt.wrong', evidence: { sequence: '2' } })
  })

  it('signs nothing more for requests that were under way when another one got a wrong receipt', async () => {
    const signed: string[] = []
    const stale = Promise.withResolvers<void>()
    const gateway = openGateway(async ({ headers = {} }) => {
      signed.push(headers['granary-voucher'] ?? '')
      const place = signed.length
      if (place === 1) return { id: 'one', outputs: [], charged: '9', modelId: hex('0a'), receipt: { accountId: hex('ff') } }
      if (place === 2) await stale.promise
      throw errorOfProblem({ code: 'voucher.stale', required: '5', signAtLeast: '10' } as never, 402)
    })
    const meter = new Meter({ http: gateway, config, signer: payer, escrow, token, maxPerRequest: 100n })
    const [wrong, other] = [meter.infer({ model: 'm', inputs: {} }), meter.infer({ model: 'm', inputs: {} })]
    await expect(wrong).rejects.toMatchObject({ code: 'receipt.wrong' })
    stale.resolve()
    await expect(other).rejects.toMatchObject({ code: 'receipt.wrong' })
    expect(signed).toEqual(['', ''])
  })

  it('signs no ceiling above what its key may spend in all, however much the gateway says was spent', async () => {
    const ceilings: bigint[] = []
    let spent = 60n
    const gateway = openGateway(async ({ headers = {} }) => {
      const voucher = headers['granary-voucher']
      if (voucher) ceilings.push(BigInt(JSON.parse(Buffer.from(voucher, 'base64url').toString('utf8')).ceiling))
      if (voucher) spent = 10n ** 30n
      throw errorOfProblem({ code: 'voucher.stale', required: '5', signAtLeast: `${spent + 5n}` } as never, 402)
    })
    const meter = new Meter({ http: gateway, config, signer: payer, escrow, token, maxPerRequest: 5n, maxSpent: 100n })
    await expect(meter.infer({ model: 'm', inputs: {} })).rejects.toMatchObject({ code: 'payment.insufficient' })
    expect(ceilings).toEqual([100n])
  })

  it.each([
    ['another job', { jobId: hex('02') }],
    ['another model', { modelId: hex('0b') }],
    ['another purpose', { purpose: 0 }],
    ['other inputs', { inputCommitment: hex('05') }],
  ])('refuses a receipt, well signed, that is for %s', (what, changed) => {
    const inputs = { text: ['how many'] }
    const check = { escrow, collector, accountId, key: config.payer, max: 7n }
    const asked = { model: hex('0a'), inputs }
    const own = { inputCommitment: commitTensors([textTensor('text', inputs.text)], hex('5a')) }
    expect(() => checkReceipt({ ...check, asked, answer: answerOf({ ...own }) })).not.toThrow()
    expect(() => checkReceipt({ ...check, asked, answer: answerOf({ ...own, ...changed }) })).toThrow(`it is for ${what}`)
  })

  it.each([1, 2, 64, 256])('takes a receipt that was signed with others, %i in all', (size) => {
    const answer = answerOf({}, othersOf(size))
    expect(answer.receipt.path).toHaveLength(Math.log2(size))
    for (const _ of ['at first', 'and again']) expect(() => check(answer)).not.toThrow()
  })

  it.each<[string, (receipt: ReceiptBody) => Partial<Record<keyof ReceiptBody, unknown>>]>([
    ['a path that leads elsewhere', ({ path }) => ({ path: path.with(2, hex('77')) })],
    ['the path of another receipt of the group', ({ head }) => ({ path: pathOf(othersOf(16)[0] ?? '', head) })],
    ['a path that is too short', ({ path }) => ({ path: path.slice(1) })],
    ['a path that is too long', ({ path }) => ({ path: [...path, hex('77')] })],
    ['a path without an end', ({ path }) => ({ path: Array(1000).fill(path[0]) })],
    ['no path', () => ({ path: undefined })],
    ['a path of other things', () => ({ path: [{}, null, 7, '0x'] })],
    ['a path that is no list', () => ({ path: { length: 0 } })],
    ['the signature of another group', () => ({ collectorSignature: answerOf({}, othersOf(15)).receipt.collectorSignature })],
    ['a signature that is none', () => ({ collectorSignature: { toString: 1 } })],
    ['a signature over itself', ({ head }) => ({ collectorSignature: signed(digestOfStruct('InferenceEscrow', escrow, head)) })],
    ["somebody else's signature", (receipt) => ({ collectorSignature: signed(signedDigestOf(receipt, escrow) ?? '', payer) })],
  ])('refuses a receipt with %s, whatever it has seen before', (_, changed) => {
    const answer = answerOf({}, othersOf(16))
    const wrong = { ...answer, receipt: { ...answer.receipt, ...changed(answer.receipt) } as ReceiptBody }
    for (const one of [wrong, wrong]) {
      expect(() => check(one)).toThrow(GranaryError)
      expect(() => check(one)).toThrow(/its path is malformed|the collector did not sign it/)
      expect(() => check(answer)).not.toThrow()
    }
  })

  it('holds tensors against a receipt as they went over the wire', () => {
    const check = { escrow, collector, accountId, key: config.payer, max: 7n }
    const inputs = [{ name: 'x', datatype: 'FP32' as const, shape: [2], data: [-0, 1] }]
    const inputCommitment = commitTensors([floatTensor('x', new Float32Array([0, 1]), [2])], hex('5a'))
    expect(() => checkReceipt({ ...check, asked: { model: 'm', inputs }, answer: answerOf({ inputCommitment }) })).not.toThrow()
    const others = [{ ...inputs[0], data: [0, 2] }] as typeof inputs
    const answer = answerOf({ inputCommitment })
    expect(() => checkReceipt({ ...check, asked: { model: 'm', inputs: others }, answer })).toThrow('other inputs')
  })

  it('leaves inputs unchecked that only the manifest turns into tensors', () => {
    const check = { escrow, collector, accountId, key: config.payer, max: 7n }
    for (const value of [1.5, [1, 2], '12', { png: '' }]) {
      expect(() => checkReceipt({ ...check, asked: { model: 'm', inputs: { value } }, answer: answerOf({}) })).not.toThrow()
    }
  })

  it('repeats a request whose refusal was cut off, and gives up one whose refusal never ends', async () => {
    let asked = 0
    await using server = await openHttpServer((_, reply) => {
      asked += 1
      if (asked > 2) return reply.end('{"ok":true}')
      reply.writeHead(503, { 'content-length': '500' }).write('{')
      if (asked === 1) setImmediate(() => reply.destroy())
    })
    const http = openHttp({ gatewayUrl: server.url, timeoutMs: 300 })
    expect(await http.json({ method: 'GET', path: '/', repeatable: true })).toEqual({ ok: true })
    expect(asked).toBe(3)
  })
})

function check(answer: InferAnswer): void {
  checkReceipt({
    asked: { model: 'm', inputs: { value: 1.5 } },
    answer,
    escrow,
    collector,
    accountId,
    key: config.payer,
    max: 7n,
  })
}

const signed = (digest: string, by = seller) => by.signingKey.sign(digest).serialized

/** Heads of the others in a group of so many. */
function othersOf(size: number): string[] {
  return Array.from({ length: size - 1 }, (_, index) => keccak256(toBeHex(index, 32)))
}

/** For request 01, with `changed` in the job that provider and collector sign. */
function answerOf(changed: Record<string, string | number>, others: readonly string[] = []): InferAnswer {
  const { job, key, sequence, previousHead, providerSignature } = receiptAfter(null, hex('01'))
  const receipt = { key, sequence, previousHead, charged: '7', providerSignature }
  const changedJob = { ...job, outputCommitment: commitTensors([], hex('5b')), ...changed }
  const head = headOf({ ...receipt, job: changedJob }, { accountId, key })
  const signature = signReceipts([...others, head], { escrow, sign: signed }).get(head) ?? raise()
  return {
    id: hex('01'),
    model: 'm',
    modelId: changedJob.modelId,
    purpose: 'commercial-service',
    outputs: [],
    provider: job.provider,
    units: '1',
    unitPrice: '7',
    charged: '7',
    receipt: { ...receipt, accountId, job: changedJob, inputSalt: hex('5a'), outputSalt: hex('5b'), head, ...signature },
  }
}

function receiptAfter(previous: AccountReceipt | null, jobId: string): AccountReceipt {
  const job = {
    jobId,
    modelId: hex('0a'),
    provider: provider.address.toLowerCase(),
    purpose: 1,
    consentBlock: 1,
    inputCommitment: jobId,
    outputCommitment: jobId,
    units: '1',
    unitPrice: '7',
    servedAt: 1000,
    computeMicros: 5,
  }
  const providerSignature = provider.signingKey.sign(digestOf('InferenceEscrow', 'JobReceipt', escrow, job)).serialized
  const sequence = `${BigInt(previous?.sequence ?? 0) + 1n}`
  const receipt: PublishedReceipt = { sequence, previousHead: previous?.head ?? NO_USAGE, charged: '7', job, providerSignature }
  const key = config.payer
  return { ...receipt, key, head: headOf(receipt, { accountId, key }), state: 'COMMITTED', batchId: null, proof: null }
}

/** The chain has charged for all of them. */
function audit(receipts: AccountReceipt[]) {
  const settled = receipts.map((receipt) => ({ ...receipt, state: 'FINAL' as const, batchId: receipt.head, proof: [] }))
  const file: ReceiptsFile = {
    format: 'granary-receipts/1',
    chainId: '1',
    contracts: { InferenceEscrow: escrow.address, ProviderRegistry: hex('99', 20) },
    token,
    collector,
    accountId,
    receipts: settled,
  }
  return auditReceipts(file, {
    // A batch of one receipt has it for a root.
    batchRoot: async (_, batchId) => receiptsRoot([batchId]),
    charged: async () => 7n * BigInt(receipts.length),
    operatorOf: async () => provider.address,
  })
}

function openGateway(infer: (request: HttpRequest) => Promise<unknown>): Http {
  const gatewayKey = x25519PublicKey(crypto.getRandomValues(new Uint8Array(32)))
  const answers: Record<string, unknown> = {
    '/v1/head': { timestamp: 1000 },
    '/v1/sessions': { sessionId: hex('5e'), gatewayKey },
  }
  return {
    gatewayUrl: 'http://gateway.test',
    open: () => Promise.reject(new Error('no stream')),
    send: async (request) => ({
      status: 200,
      headers: new Headers(),
      bytes: new TextEncoder().encode(JSON.stringify(await infer(request))),
    }),
    json: async <T>({ path }: HttpRequest) => answers[path] as T,
  }
}

/** Of one of the others, in the group of 16 that this head was signed in. */
function pathOf(other: string, head: string): string[] {
  return signReceipts([...othersOf(16), head], { escrow, sign: signed }).get(other)?.path ?? raise()
}

function raise(): never {
  throw new Error('a receipt without a signature')
}
