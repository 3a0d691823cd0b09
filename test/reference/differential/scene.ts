import { serveEnd } from '../model/consent.ts'
import { type Cooperative, epochAt } from '../model/cooperative.ts'
import type { Act } from './acts.ts'
import type { Random } from './random.ts'
import type { Signature, World } from './world.ts'

/** What a draw sees: the model's cooperative at the time of the act, and the acts before it. */
export interface Scene {
  world: World
  cooperative: Cooperative
  random: Random
  past: readonly Act[]
}

/** An act without its time, or null where nothing fits the moment. */
export type Drawn = Act extends infer A ? (A extends Act ? Omit<A, 'at'> : never) : never

const FAR_SECONDS = 5000

export function someone({ world, random }: Scene): string {
  return random.pick(world.people).address
}

/** Who registers, who pays, who collects; roles overlap, as they do among people. */
export function oneOf({ world, random }: Scene, names: readonly string[]): string {
  return random.pick(world.people.filter(({ name }) => names.includes(name))).address
}

export const OWNERS = ['ann', 'ben', 'cleo']
export const AUTHORS = ['cleo', 'dan']
export const PAYERS = ['eve', 'fred']
export const COLLECTORS = ['gus', 'hal']
export const PROVIDERS = ['dan', 'hal', 'ann']
export const KEYS = ['ben', 'relayer', 'gus']

/** The person's own transaction, or anyone's with the person's signature; now and then neither is. */
export function signedOrSent(scene: Scene, person: string, deadline: boolean): { from: string; signature: Signature | null } {
  const { random, cooperative } = scene
  const wrong = random.chance(0.06)
  const by = wrong ? someone(scene) : person
  if (random.chance(0.6)) return { from: by, signature: null }
  const late = random.chance(0.05)
  const until = cooperative.now + (late ? -random.between(1, 50) : random.between(0, 100))
  return { from: someone(scene), signature: { by, spoiled: random.chance(0.04), deadline: deadline ? until : null } }
}

/** Mostly small steps; else to the next epoch, or just before, at or just after something that is due. */
export function nextTime({ cooperative, random }: Scene): number {
  const { now } = cooperative
  if (random.chance(0.65)) return now + random.between(1, 40)
  const due = random.any(dueTimes(cooperative).filter((at) => at > now + 1 && at < now + FAR_SECONDS))
  if (due === null || random.chance(0.3)) return nextEpochStart(cooperative) + random.between(0, 30)
  return Math.max(now + 1, due + random.between(-1, 1))
}

export function nextEpochStart({ rules, now }: Cooperative): number {
  return (epochAt(rules, now) + 1) * rules.epochSeconds
}

function dueTimes({ datasets, models, accounts, collectorFees, rules }: Cooperative): number[] {
  const times: number[] = []
  for (const { terms, endsAt, removedPurposes } of datasets.values())
    times.push(terms.validFrom, endsAt, ...removedPurposes.values())
  for (const { storedEnds, suspendedUntil, payees } of models.values()) {
    times.push(...storedEnds.values(), suspendedUntil)
    for (const { id, trainedAt } of payees) {
      const dataset = datasets.get(id)
      for (const purpose of storedEnds.keys()) if (dataset !== undefined) times.push(serveEnd(dataset, purpose, trainedAt))
    }
  }
  for (const { thawEndsAt, thawSeconds, keys } of accounts.values()) {
    times.push(thawEndsAt)
    for (const { notAfter, revokedAt } of keys.values()) times.push(notAfter + thawSeconds, revokedAt + thawSeconds)
  }
  for (const { raise } of collectorFees.values()) times.push(raise?.effectiveAt ?? 0)
  return [...times, ...times.map((at) => at + rules.maxSettlementSeconds)]
}
