import { afterAll, beforeAll, describe, vi } from 'vitest'
import { openStage, type Stage } from '../support/cooperative.ts'
import { commandLine } from './groups/command-line.ts'
import { falseBytes } from './groups/false-bytes.ts'
import { lostChain } from './groups/lost-chain.ts'
import { lostDatabase } from './groups/lost-database.ts'
import { lostProcesses } from './groups/lost-processes.ts'
import { secondStart } from './groups/second-start.ts'
import { type Scene, setScene } from './support/scene.ts'

// A killed gateway and the worker's way back to it may take half a minute each on a busy machine.
vi.setConfig({ testTimeout: 240_000 })

/** Whatever fails around it, a request ends answered and charged once, or refused and not charged. */
describe('failures of a real cooperative', () => {
  let stage: Stage
  let scene: Scene

  beforeAll(async () => {
    stage = await openStage('edges-failures')
    scene = await setScene(stage)
  }, 240_000)

  afterAll(async () => {
    await stage?.[Symbol.asyncDispose]()
  }, 60_000)

  for (const group of [lostProcesses, falseBytes, lostDatabase, lostChain, secondStart, commandLine]) group(() => scene)
})
