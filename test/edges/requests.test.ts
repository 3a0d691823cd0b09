import { afterAll, beforeAll, describe, vi } from 'vitest'
import { openStage, type Stage } from '../support/cooperative.ts'
import { bodies } from './groups/bodies.ts'
import { consent } from './groups/consent.ts'
import { credentials } from './groups/credentials.ts'
import { foreignClients } from './groups/foreign-clients.ts'
import { inputs } from './groups/inputs.ts'
import { keys } from './groups/keys.ts'
import { paths } from './groups/paths.ts'
import { relay } from './groups/relay.ts'
import { replays } from './groups/replays.ts'
import { sessions } from './groups/sessions.ts'
import { signedActs } from './groups/signed-acts.ts'
import { verbs } from './groups/verbs.ts'
import { vouchers } from './groups/vouchers.ts'
import { type Scene, setScene } from './support/scene.ts'

// A killed gateway and the worker's way back to it may take half a minute each on a busy machine.
vi.setConfig({ testTimeout: 240_000 })

/** Every bad request gets a clear refusal, and nobody is charged for one. Groups share one real cooperative and one customer. */
describe('bad requests to a real cooperative', () => {
  let stage: Stage
  let scene: Scene
  const current = () => scene

  beforeAll(async () => {
    stage = await openStage('edges-requests')
    scene = await setScene(stage, { patient: true })
  }, 240_000)

  afterAll(async () => {
    await stage?.[Symbol.asyncDispose]()
  }, 60_000)

  for (const group of [
    bodies,
    inputs,
    consent,
    credentials,
    sessions,
    vouchers,
    replays,
    keys,
    relay,
    signedActs,
    verbs,
    paths,
    foreignClients,
  ])
    group(current)
})
