import type { Meter } from '../../services/sdk/meter.ts'
import type { Contribution, RegisteredModel } from './chapters.ts'
import type { Person, World, WorldOptions } from './world.ts'

/** What the chapters of the story share. */
export interface StoryOptions {
  world: WorldOptions
  /** Private keys of genesis members, who vouch and vote. */
  memberKeys: readonly string[]
  /** Starts a worker for a fresh provider's session key; disposed when the story ends. */
  startWorker: (sessionPrivateKey: string) => Promise<AsyncDisposable>
  print: (line: string) => void
  /** How many inferences of the spam model are bought by voucher and by API key. */
  purchases?: { byVoucher: number; byKey: number }
  /** Called in the middle of buying and before the rewards, for tests that break things. */
  interrupt?: (stage: 'buying' | 'rewarding') => Promise<void>
}

export interface Cast {
  ada: Person
  ben: Person
  author: Person
  operator: Person
  developer: Person
  members: Person[]
}

export interface Telling {
  world: World
  cast: Cast
  options: StoryOptions
  /** The block before the first act. */
  fromBlock: number
  print: (chapter: string, line: string) => void
}

/** What can be bought: the model of this story, and two that the catalog had before. */
export interface Shelf {
  spam: RegisteredModel
  voice: { modelId: string; name: string }
  ocr: { modelId: string; name: string }
}

export interface Purchases {
  meter: Meter
  count: number
}

export type Contributions = [Contribution, Contribution]

export const DOLLAR = 1_000_000n
export const STAKE = 100n * DOLLAR
export const DEPOSIT = 20n * DOLLAR
export const PRICES = { spam: 400n, voice: 200n, ocr: 1500n }
