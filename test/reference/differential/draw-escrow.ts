import { id, ZeroAddress } from 'ethers'
import type { Account, AccountConfig, Named } from '../model/accounts.ts'
import { MAX_SETTLEMENT_SECONDS } from './deployment.ts'
import { COLLECTORS, type Drawn, KEYS, oneOf, PAYERS, type Scene, signedOrSent, someone } from './scene.ts'

const THAW_SECONDS = [2 * MAX_SETTLEMENT_SECONDS, 700, 1200]

/** Each payer has at most a few accounts, so that acts meet. */
export function drawConfig(scene: Scene): AccountConfig {
  const { random } = scene
  const payer = oneOf(scene, PAYERS)
  const collector = oneOf(scene, COLLECTORS)
  const thawSeconds = random.chance(0.96) ? random.pick(THAW_SECONDS) : random.pick([599, 0, 90 * 86_400 + 1])
  return { payer, collector, thawSeconds, salt: id(random.chance(0.8) ? 'first' : 'second') }
}

export function anyAccount({ cooperative, random }: Scene, collector?: string): Account | null {
  const used = [...cooperative.accounts.values()].filter(
    (account) => account.deposit > 0n && (collector === undefined || account.collector === collector),
  )
  return random.any(used)
}

export function configOf({ payer, collector, thawSeconds, salt }: AccountConfig | Named): AccountConfig {
  return { payer, collector, thawSeconds, salt }
}

export function drawDeposit(scene: Scene): Drawn {
  const { random, cooperative, past } = scene
  const known = random.chance(0.4) ? anyAccount(scene) : null
  const account = known === null ? drawConfig(scene) : configOf(known)
  const amount = BigInt(
    random.weighted([
      [random.between(100_000, 3_000_000), 8],
      [random.between(1, 5000), 3],
      [0, 0.3],
    ]),
  )
  const wealth = cooperative.tokens.get(account.payer) ?? 0n
  if (random.chance(0.5)) {
    const from = random.chance(0.8) ? account.payer : someone(scene)
    return { kind: 'deposit', from, account, amount: random.chance(0.02) ? (cooperative.tokens.get(from) ?? 0n) + 1n : amount }
  }
  const { now } = cooperative
  const authorization = {
    amount: random.chance(0.02) ? wealth + 1n : amount,
    validAfter: random.chance(0.95) ? 0 : now + random.between(0, 1),
    validBefore: random.chance(0.95) ? now + random.between(1, 500) : now,
    salt: id(`deposit ${random.chance(0.75) ? past.length : 0}`),
  }
  const by = random.chance(0.96) ? account.payer : someone(scene)
  const signature = { by, spoiled: random.chance(0.03), deadline: null }
  return { kind: 'deposit-signed', from: someone(scene), account, authorization, signature }
}

export function drawGrant(scene: Scene): Drawn {
  const { random, cooperative } = scene
  const named = anyAccount(scene)
  const account = named === null ? drawConfig(scene) : configOf(named)
  const key = random.weighted([
    [oneOf(scene, KEYS), 30],
    [account.payer, 1],
    [ZeroAddress, 1],
  ])
  const known = named?.keys.get(key)
  const cap = (known?.cap ?? 0n) + BigInt(random.between(0, 200_000)) - (random.chance(0.05) ? 1n : 0n)
  const notAfter = Math.max(known?.notAfter ?? 0, cooperative.now + random.between(-20, 900)) - (random.chance(0.05) ? 1 : 0)
  const grant = {
    key,
    cap: random.chance(0.02) ? 1n << 80n : cap < 0n ? 0n : cap,
    notAfter: random.chance(0.03) ? 0 : notAfter,
    nonce: (known?.nonce ?? 0) + (random.chance(0.95) ? random.between(1, 3) : 0),
  }
  return { kind: 'grant-key', account, grant, ...signedOrSent(scene, account.payer, false) }
}

export function drawRevocation(scene: Scene): Drawn | null {
  const { random } = scene
  const account = anyAccount(scene)
  if (account === null) return null
  const granted = random.any([...account.keys.keys()])
  const key = random.weighted([
    [granted ?? oneOf(scene, KEYS), 10],
    [oneOf(scene, KEYS), 2],
    [account.payer, 0.5],
  ])
  return { kind: 'revoke-key', account: configOf(account), key, ...signedOrSent(scene, account.payer, false) }
}

export function drawThaw(scene: Scene): Drawn | null {
  const { random, past } = scene
  const account = anyAccount(scene)
  if (account === null) return null
  const uncharged = account.deposit - account.charged
  const amount = random.weighted([
    [uncharged, 3],
    [(uncharged * BigInt(random.between(1, 99))) / 100n, 6],
    [uncharged + 1n, 0.4],
    [0n, 0.3],
  ])
  const nonce = random.chance(0.9) ? past.length : 1
  return { kind: 'start-thaw', account: configOf(account), amount, nonce, ...signedOrSent(scene, account.payer, true) }
}

export function drawThawEnd(scene: Scene): Drawn | null {
  const { random, cooperative } = scene
  const thawing = [...cooperative.accounts.values()].filter((each) => each.thawing > 0n)
  if (thawing.length === 0 && random.chance(0.9)) return null
  const account = random.any(thawing.length > 0 && random.chance(0.95) ? thawing : [...cooperative.accounts.values()])
  if (account === null) return null
  const from = random.chance(0.7) ? account.payer : someone(scene)
  if (random.chance(0.35)) return { kind: 'cancel-thaw', from, account: configOf(account) }
  const to = random.chance(0.7) ? account.payer : someone(scene)
  return { kind: 'withdraw-deposit', from, account: configOf(account), to }
}

export function drawSetting(scene: Scene): Drawn {
  const { random, cooperative } = scene
  const timelock = random.chance(0.92) ? cooperative.rules.timelock : someone(scene)
  return random.weighted<Drawn>([
    [
      { kind: 'set-collector-fee', from: oneOf(scene, COLLECTORS), ppm: random.pick([0, 1, 25_000, 77_777, 100_000, 100_001]) },
      6,
    ],
    [{ kind: 'set-protocol-fee', from: timelock, ppm: random.pick([0, 1, 9999, 50_000, 50_001]) }, 2],
    [{ kind: 'set-treasury', from: timelock, treasury: random.chance(0.9) ? someone(scene) : ZeroAddress }, 1],
  ])
}

export function drawCredit(scene: Scene): Drawn | null {
  const { random, cooperative } = scene
  const owners = [...cooperative.credits.keys()].filter((owner) => owner !== cooperative.rules.timelock || random.chance(0.3))
  const owner = random.any(owners)
  if (owner === null) return null
  const from = random.chance(0.7) && owner !== cooperative.rules.timelock ? owner : someone(scene)
  return { kind: 'claim-credit', from, owner, to: random.chance(0.7) ? owner : someone(scene) }
}
