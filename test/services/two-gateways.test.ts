import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Wallet } from 'ethers'
import type { FastifyInstance } from 'fastify'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openNoOpDispatcher } from '../../scripts/bench/payments/no-op-dispatcher.ts'
import { openLedger } from '../../services/adapters/ledger/prisma-ledger.ts'
import type { Call } from '../../services/core/chain-records.ts'
import type { Mirror } from '../../services/core/mirror-ledger.ts'
import type { Chain, Ledger } from '../../services/core/ports.ts'
import { readConfig } from '../../services/gateway/config.ts'
import { type GatewayParts, openGateway } from '../../services/gateway/gateway.ts'
import { makeApiSecret, openVault } from '../../services/gateway/vault.ts'
import { fund, headAfter, hex, newAccount, type TestAccount } from '../adapters/conformance/ledger-acts.ts'
import { openTestServer, type TestServer } from '../support/postgres.ts'
import { silent } from './support/marketplace.ts'

const UNIT_PRICE = 10n
const PLACES = 60
const [modelId, provider, manifestDigest] = [hex(32), hex(20), hex(32)]
const head = { number: 1, hash: hex(32), parentHash: hex(32), timestamp: 1000 }
const masterKey = '7'.repeat(64)
const collector = Wallet.createRandom()

/** Two gateways of one operator, each with connections of its own to one PostgreSQL, at whom an account's keys buy at the same time. */
describe('two gateways on one database', () => {
  const stack = new AsyncDisposableStack()
  let server: TestServer
  let gateways: { app: FastifyInstance; ledger: Ledger }[]

  beforeAll(async () => {
    server = stack.use(await openTestServer())
    const { url } = stack.use(await server.database())
    const dir = mkdtempSync(join(tmpdir(), 'granary-two-gateways-'))
    stack.defer(() => rmSync(dir, { recursive: true, force: true }))
    gateways = []
    for (const port of ['8081', '8082']) {
      const ledger = stack.use(await openLedger({ url }))
      const { app } = stack.use(await openGateway(configIn(dir, port), partsOver(ledger)))
      gateways.push({ app, ledger })
    }
    await offerModel(gateways[0]?.ledger as Ledger)
  })
  afterAll(() => stack.disposeAsync())

  it(`sell ${PLACES} places to 100 parallel requests, and no more`, async () => {
    const [first, second] = gateways as [(typeof gateways)[0], (typeof gateways)[0]]
    const { account, apiKey } = await openAccount(first.ledger)
    const buy = (index: number) =>
      (index % 2 === 0 ? first : second).app.inject({
        method: 'POST',
        url: '/v1/infer',
        headers: { authorization: `Bearer ${apiKey}` },
        payload: { model: modelId, inputs: { text: `text ${index}` } },
      })
    const answers = await Promise.all(Array.from({ length: 100 }, (_, index) => buy(index)))
    const statuses = answers.map(({ statusCode }) => statusCode)
    expect(statuses.filter((status) => status === 200)).toHaveLength(PLACES)
    expect(statuses.filter((status) => status === 402)).toHaveLength(100 - PLACES)
    const paid = answers.filter(({ statusCode }) => statusCode === 200).map((answer) => answer.json().receipt)
    const inOrder = paid.toSorted((a, b) => Number(a.sequence) - Number(b.sequence))
    expect(inOrder.map(({ sequence }) => Number(sequence))).toEqual(inOrder.map((_, index) => index + 1))
    expect(inOrder.slice(1).map(({ previousHead }) => previousHead)).toEqual(inOrder.slice(0, -1).map((one) => one.head))
    expect(await second.ledger.standing(account.accountId, account.key)).toMatchObject({
      spent: UNIT_PRICE * BigInt(PLACES),
      reserved: 0n,
    })
  })
})

function configIn(dir: string, port: string) {
  const write = (name: string, content: string) => {
    writeFileSync(join(dir, name), content)
    return join(dir, name)
  }
  const contracts = { InferenceEscrow: hex(20), Membership: hex(20) }
  return readConfig({
    PORT: port,
    GRANARY_RPC_URL: 'http://127.0.0.1:1',
    DATABASE_URL: 'unused',
    GRANARY_CONTENT_DIR: dir,
    GRANARY_DEPLOYMENT: write('deployment.json', JSON.stringify({ chainId: 1, token: hex(20), contracts, deployBlock: 0 })),
    GRANARY_KEY_FILE: write('collector', collector.privateKey),
    GRANARY_RELAYER_KEY_FILE: write('relayer', Wallet.createRandom().privateKey),
    GRANARY_MASTER_KEY_FILE: write('master', masterKey),
  })
}

function partsOver(ledger: Ledger): GatewayParts {
  const views: Record<string, unknown> = { MAX_SETTLEMENT_SECONDS: 3600n, name: 'Test dollar', version: '1', purposes: 2n }
  const names = ['research', 'commercial-service']
  const read = async ({ method, args }: Call) => (method === 'purposeName' ? names[Number(args[0])] : (views[method] ?? 0n))
  const chain = { chainId: 1n, addresses: { InferenceEscrow: hex(20), Membership: hex(20) }, read } as unknown as Chain
  const consent = { head, isFresh: () => true, require: async () => head } as unknown as GatewayParts['consent']
  const store = { addresses: () => [] } as unknown as GatewayParts['store']
  const dispatcher = openNoOpDispatcher({ provider, chainTime: () => head.timestamp })
  return { chain, ledger, store, dispatcher, consent, acceptWorkers: () => undefined, log: silent }
}

async function offerModel(ledger: Ledger): Promise<void> {
  const at = headAfter(await ledger.cursor())
  const mirrors: Mirror[] = [
    { kind: 'model', id: modelId, block: at.number, state: { manifestDigest, author: hex(20) } },
    { kind: 'provider', id: provider, block: at.number, state: { active: true, sessionKey: hex(20), unstakesAt: 0 } },
    {
      kind: 'offer',
      id: `${provider}:${modelId}`,
      block: at.number,
      state: { modelId, provider, unit: 0, unitPrice: `${UNIT_PRICE}`, active: true },
    },
  ]
  await ledger.apply({ head: at, events: [], mirrors })
  const text = { datatype: 'BYTES' as const, shape: [-1] }
  await ledger.storeManifest(manifestDigest, {
    name: 'no-op',
    unit: 'request',
    inputs: [{ name: 'text', ...text }],
    outputs: [{ name: 'label', ...text }],
  } as never)
}

/** An account with room for so many requests, and an API key whose cap has room for more. */
async function openAccount(ledger: Ledger): Promise<{ account: TestAccount; apiKey: string }> {
  const key = Wallet.createRandom()
  const known = newAccount()
  const config = { ...known.config, collector: collector.address.toLowerCase() }
  const deposit = UNIT_PRICE * BigInt(PLACES)
  const account = await fund(ledger, { ...known, config, key: key.address.toLowerCase() }, { deposit, cap: 10n * deposit })
  const { keyId, secretHash, token } = makeApiSecret()
  const sealedPrivateKey = openVault([Buffer.from(masterKey, 'hex')]).seal(key.privateKey, keyId)
  const { accountId } = account
  await ledger.addApiKey({
    keyId,
    secretHash,
    accountId,
    key: account.key,
    sealedPrivateKey,
    label: '',
    models: [],
    purposes: [],
    jurisdictions: [],
    createdAt: 0,
    endsAt: null,
    revoked: false,
  })
  return { account, apiKey: token }
}
