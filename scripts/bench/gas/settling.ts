import { id, TypedDataEncoder, Wallet } from 'ethers'
import { type Measure, type References, rounded } from './figures.ts'
import { depositByAuthorization, grantKey, PRICE, registerDataset, registerModel, type Spending, settle } from './market.ts'
import { CHAIN_ID, type GasWorld } from './world.ts'

const ROWS = 100
const PAYEES = [1, 2, 4, 8, 16, 32]
const RECIPIENTS = 32

/** What money costs to move without the project: the references of everything else. */
export async function measureReferences(world: GasWorld, measure: Measure): Promise<References> {
  const [from, to, relayer] = [await world.person('spender'), await world.person('merchant'), await world.person('relayer')]
  await fill(world, [from, to])
  const transfer = await world.gasOf({ from, contract: 'Token', method: 'transfer', args: [to.address, 5_000_000n] })
  const authorization = await world.gasOf({
    ...{
      from: relayer,
      contract: 'Token',
      method: 'transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)',
    },
    args: await transferAuthorization(world, from, to.address),
  })
  const recipients: Wallet[] = []
  for (let i = 0; i < RECIPIENTS; i++) recipients.push(new Wallet(id(`recipient ${i}`)))
  await fill(world, recipients)
  const approve = [world.addresses.EagerSplit, 10n ** 12n]
  await world.gasOf({ from, contract: 'Token', method: 'approve', args: approve })
  // The splitter keeps one unit, so that its balance is no fresh slot.
  await world.gasOf({ from, contract: 'Token', method: 'transfer', args: [world.addresses.EagerSplit, 1n] })
  const addresses = recipients.map(({ address }) => address)
  const eagerSplit = await world.gasOf({
    from,
    contract: 'EagerSplit',
    method: 'split',
    args: [world.addresses.Token, PRICE, addresses],
  })
  measure({ key: 'reference.erc20Transfer', value: transfer, unit: 'gas' })
  measure({ key: 'reference.eip3009Transfer', value: authorization, unit: 'gas' })
  measure({ key: 'reference.eagerSplit32', value: eagerSplit, unit: 'gas' })
  return { transfer, authorization, eagerSplit }
}

async function transferAuthorization(world: GasWorld, from: Wallet, to: string): Promise<unknown[]> {
  const domain = { name: 'Granary Test Dollar', version: '1', chainId: CHAIN_ID, verifyingContract: world.addresses.Token ?? '' }
  const names = ['from', 'to', 'value', 'validAfter', 'validBefore', 'nonce']
  const kinds = ['address', 'address', 'uint256', 'uint256', 'uint256', 'bytes32']
  const types = { TransferWithAuthorization: names.map((name, i) => ({ name, type: kinds[i] ?? '' })) }
  const values = [from.address, to, 5_000_000n, 0, 4_000_000_000, id('reference')]
  const value = Object.fromEntries(names.map((name, i) => [name, values[i]]))
  const { v, r, s } = from.signingKey.sign(TypedDataEncoder.hash(domain, types, value))
  return [...values, v, r, s]
}

/** Deposits, single settlements and batches; every account was used before, and every credit is above zero. */
export async function measureSettling(world: GasWorld, references: References, measure: Measure): Promise<void> {
  const payers = await peopleOf(world, 'payer', ROWS)
  await fill(world, payers)
  let deposit = 0
  for (const name of ['first', 'second']) {
    for (const payer of payers.slice(0, name === 'first' ? ROWS : 1)) {
      deposit = await depositByAuthorization(world, payer, { amount: 5_000_000n, name: `${name} ${payer.address}` })
    }
  }
  measure({
    key: 'deposit.authorization',
    value: deposit,
    unit: 'gas',
    bar: 112_000,
    reference: { what: 'EIP-3009 transfer', value: references.authorization },
  })
  const collector = await world.person('collector')
  await world.gasOf({ from: collector, contract: 'InferenceEscrow', method: 'setCollectorFee', args: [20_000] })
  world.warp(world.now() + 86_400)

  const models = await modelsOf(world)
  const spender = openSpender()
  await measureSingle(world, { models, payer: payers[0], spender, references, measure })
  const lanes = models.slice(0, 4)
  await measureBatches(world, { lanes, payers, spender, references, deposit, measure })
}

async function modelsOf(world: GasWorld): Promise<string[]> {
  const owner = await world.person('owner')
  const datasets: string[] = []
  for (let i = 0; i < 32; i++) datasets.push((await registerDataset(world, owner, `shared ${i}`)).datasetId)
  const models: string[] = []
  for (const payees of PAYEES)
    models.push(await registerModel(world, `of ${payees}`, { datasetIds: datasets.slice(0, payees), ppm: 1000 }))
  return models
}

/** Remembers what each key has spent: a row must start there. */
function openSpender() {
  const spent = new Map<string, bigint>()
  return (payer: Wallet, key: Wallet | null, lanes: number[]): Spending => {
    const name = `${payer.address} ${key?.address}`
    const from = spent.get(name) ?? 0n
    spent.set(name, from + PRICE * BigInt(lanes.length))
    return { payer, key, from, lanes, price: PRICE }
  }
}

type Spender = ReturnType<typeof openSpender>

interface Single {
  models: string[]
  payer: Wallet | undefined
  spender: Spender
  references: References
  measure: Measure
}

async function measureSingle(world: GasWorld, { models, payer, spender, references, measure }: Single): Promise<void> {
  if (!payer) throw new Error('no payer')
  const costs: number[] = []
  for (const [i, model] of models.entries()) {
    await settle(world, `warm ${i}`, { models: [model], spendings: [spender(payer, null, [0])] })
    const gas = await settle(world, `single ${i}`, { models: [model], spendings: [spender(payer, null, [0])] })
    costs.push(gas)
    const reference = { what: 'eager split to 32 recipients', value: references.eagerSplit }
    measure({ key: `settle.single.payees${PAYEES[i]}`, value: gas, unit: 'gas', bar: 125_000, reference })
  }
  const spread = (Math.max(...costs) / Math.min(...costs) - 1) * 100
  measure({ key: 'settle.single.spreadOverPayees', value: rounded(spread), unit: '%', bar: 1 })
}

interface Batches {
  lanes: string[]
  payers: Wallet[]
  spender: Spender
  references: References
  deposit: number
  measure: Measure
}

async function measureBatches(world: GasWorld, { lanes, payers, spender, references, deposit, measure }: Batches): Promise<void> {
  const keys = await peopleOf(world, 'key', ROWS)
  for (const [i, payer] of payers.entries()) await grantKey(world, payer, keys[i] ?? payer, 1_000_000_000n)
  const reference = { what: 'ERC-20 transfer', value: references.transfer }
  const perRow = async (name: string, lanesOf: (row: number) => number[], keyOf: (row: number) => Wallet | null) => {
    let gas = 0
    // The second time nobody spends for the first time.
    for (const time of ['first', 'second']) {
      const spendings = payers.map((payer, i) => spender(payer, keyOf(i), lanesOf(i)))
      gas = await settle(world, `${name} ${time}`, { models: lanes, spendings })
    }
    return rounded(gas / ROWS)
  }
  const one = (row: number) => [row % lanes.length]
  const own = await perRow('own', one, () => null)
  measure({ key: 'settle.batch100.ownKey', value: own, unit: 'gas per row', bar: 15_000, reference })
  const granted = await perRow('granted', one, (row) => keys[row] ?? null)
  measure({ key: 'settle.batch100.grantedKey', value: granted, unit: 'gas per row', bar: 20_000, reference })
  const every = await perRow(
    'every lane',
    () => lanes.map((_, lane) => lane),
    () => null,
  )
  measure({ key: 'settle.batch100.ownKey.everyLane', value: every, unit: 'gas per row', reference })
  for (const [inferences, bar] of [
    [10, 12_700],
    [1000, 127],
    [10_000, 13],
  ] as const) {
    const value = rounded((deposit + own) / inferences)
    measure({ key: `amortised.n${inferences}`, value, unit: 'gas per inference', bar, reference })
  }
}

export async function peopleOf(world: GasWorld, role: string, count: number): Promise<Wallet[]> {
  const people: Wallet[] = []
  for (let i = 0; i < count; i++) people.push(await world.person(`${role} ${i}`))
  return people
}

export async function fill(world: GasWorld, people: readonly Wallet[]): Promise<void> {
  const from = await world.person('deployer')
  for (const { address } of people)
    await world.gasOf({ from, contract: 'Token', method: 'mint', args: [address, 1_000_000_000n] })
}
