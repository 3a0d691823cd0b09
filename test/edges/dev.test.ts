import { afterAll, beforeAll, describe } from 'vitest'
import { openStage, type Stage } from '../support/cooperative.ts'
import { type Scene, setScene } from './support/scene.ts'
const names = (process.env.GROUPS_ ?? '').split(',')
const groups = await Promise.all(names.map(async (n) => (await import(`./groups/${n.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}.ts`))[n] as (scene: () => Scene) => void))
describe('dev', () => {
  let stage: Stage
  let scene: Scene
  beforeAll(async () => {
    stage = await openStage('edges-requests')
    scene = await setScene(stage)
  }, 240_000)
  afterAll(async () => stage?.[Symbol.asyncDispose](), 60_000)
  for (const group of groups) group(() => scene)
})
