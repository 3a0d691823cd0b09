import type { Cooperative } from '../model/cooperative.ts'
import { entitlementsIn } from '../model/dust.ts'
import type { Settled } from '../model/settlement.ts'
import { type Act, prepare } from './acts.ts'
import type { Event, Mark } from './chain.ts'
import { differences } from './comparison.ts'
import { type Counts, countAct, countState, SKIPS } from './counts.ts'
import { type Drawing, lifeOf, openingOf } from './draw.ts'
import { type Random, randomOf } from './random.ts'
import type { World } from './world.ts'

export interface Failure {
  seed: string
  wrong: string[]
  acts: Act[]
}

/** How often the whole world is compared before the end. */
const LOOK_CHANCE = 0.04

/** So many histories share an opening, which is most of the setting up. */
const SHARING = 5

export interface Player {
  /** Plays one history on both sides; null if they agree all the way. */
  play(seed: string, number: number): Promise<Failure | null>
  /** The same acts without what is not needed for a difference, as far as dropping one after another goes. */
  shorten(failure: Failure): Promise<Failure>
}

/** An opening that was played, to go on from. */
interface Stage {
  name: string
  cooperative: Cooperative
  acts: Act[]
  mark: Mark
  failure: Failure | null
}

export async function openPlayer(world: World, counts: Counts): Promise<Player> {
  const empty = await world.chain.mark()
  let stage: Stage | null = null
  return {
    async play(seed, number) {
      const name = `${seed}/opening ${Math.floor(number / SHARING)}`
      if (stage?.name !== name) {
        await world.chain.rewind(empty)
        stage = await playOpening(world, name, counts)
      }
      if (stage.failure !== null) return { ...stage.failure, seed: `${seed}/${number}` }
      await world.chain.rewind(stage.mark)
      return playLife(world, { stage, seed: `${seed}/${number}`, counts })
    },
    async shorten(failure) {
      let { acts, wrong } = failure
      for (let dropped = acts.length - 1; dropped >= 0; dropped--) {
        await world.chain.rewind(empty)
        const rest = acts.filter((_, index) => index !== dropped)
        const found = await replay(world, rest)
        if (found === null || kindOf(found.wrong) !== kindOf(failure.wrong)) continue
        acts = rest.slice(0, found.length)
        wrong = found.wrong
        dropped = Math.min(dropped, acts.length)
      }
      return { seed: failure.seed, wrong, acts }
    },
  }
}

async function playOpening(world: World, name: string, counts: Counts): Promise<Stage> {
  const random = randomOf(name)
  const cooperative = world.open()
  const acts: Act[] = []
  const failure = await playAll({ world, cooperative, acts, counts, looks: randomOf(`${name} looks`) }, openingOf(world, random))
  return { name, cooperative, acts, mark: await world.chain.mark(), failure }
}

async function playLife(
  world: World,
  { stage, seed, counts }: { stage: Stage; seed: string; counts: Counts },
): Promise<Failure | null> {
  const playing = {
    ...{ world, cooperative: structuredClone(stage.cooperative), acts: [...stage.acts], counts },
    looks: randomOf(`${seed} looks`),
  }
  const failure = await playAll(playing, lifeOf(world, randomOf(seed)))
  if (failure !== null) return { ...failure, seed }
  const wrong = await look({ ...playing, random: playing.looks })
  countState(counts, playing.cooperative)
  return wrong.length > 0 ? { seed, wrong, acts: playing.acts } : null
}

interface Playing {
  world: World
  cooperative: Cooperative
  acts: Act[]
  counts: Counts
  /** Decides when the whole world is compared, and at what. */
  looks: Random
}

async function playAll({ world, cooperative, acts, counts, looks }: Playing, drawing: Drawing): Promise<Failure | null> {
  for (let act = drawing.next(cooperative, acts); act !== null; act = drawing.next(cooperative, acts)) {
    acts.push(act)
    const wrong = await perform({ world, cooperative, act, counts })
    if (wrong.length === 0 && looks.chance(LOOK_CHANCE))
      wrong.push(...(await look({ world, cooperative, counts, random: looks })))
    if (wrong.length > 0) return { seed: '', wrong, acts }
  }
  return null
}

/** The first difference without its ids and numbers: a shorter history must not end in another one. */
function kindOf([first = '']: readonly string[]): string {
  return first.replaceAll(/0x[0-9a-f]+|[0-9]+/g, '')
}

/** Looks at everything after every act. */
async function replay(world: World, acts: readonly Act[]): Promise<{ wrong: string[]; length: number } | null> {
  const cooperative = world.open()
  const counts: Counts = new Map()
  const everything: Random = { ...randomOf(''), chance: () => true }
  for (const [index, act] of acts.entries()) {
    const wrong = await perform({ world, cooperative, act, counts })
    if (wrong.length === 0) wrong.push(...(await look({ world, cooperative, counts, random: everything })))
    if (wrong.length > 0) return { wrong, length: index + 1 }
  }
  return null
}

interface Performance {
  world: World
  cooperative: Cooperative
  act: Act
  counts: Counts
}

async function perform({ world, cooperative, act, counts }: Performance): Promise<string[]> {
  cooperative.now = act.at
  const { transaction, perform: onModel } = prepare(world, act)
  const sent = await world.chain.send(act.at, { ...transaction, from: act.from })
  const { refusals, settled } = onModel(cooperative)
  const error = 'error' in sent ? sent.error : null
  countAct(counts, { act, error, cooperative, events: 'events' in sent ? sent.events : [] })
  if (error === null) {
    if (refusals.length > 0) return [`${act.kind} was done, the model refuses it: ${refusals.join(', ')}`]
    return 'events' in sent && settled !== undefined ? compareSettled(sent.events, settled) : []
  }
  if (refusals.includes(error)) return []
  return [`${act.kind} was refused with ${error}, the model says ${refusals.join(' or ') || 'that it is done'}`]
}

function compareSettled(events: readonly Event[], { skipped, refusedLanes }: Settled): string[] {
  const wrong: string[] = []
  const shown = new Map<number, string>()
  for (const { name, args } of events) {
    if (name === 'RowSkipped') shown.set(Number(args.row), SKIPS[Number(args.reason)] ?? '')
  }
  for (const row of new Set([...shown.keys(), ...skipped.keys()])) {
    const reasons: readonly string[] = skipped.get(row) ?? ['applied']
    if (!reasons.includes(shown.get(row) ?? 'applied'))
      wrong.push(`row ${row} was ${shown.get(row) ?? 'applied'}, the model says ${reasons.join(' or ')}`)
  }
  const lanes = events.flatMap(({ name, args }) => (name === 'LaneRefused' ? [Number(args.lane)] : []))
  if (lanes.join() !== refusedLanes.join()) wrong.push(`lanes ${lanes} were refused, the model says ${refusedLanes}`)
  return wrong
}

async function look({ world, cooperative, counts, random }: Omit<Performance, 'act'> & { random: Random }): Promise<string[]> {
  const { asked, wrong } = await differences(world, cooperative, random)
  const sums = [
    ['view compared', asked],
    ['sum explained to the fraction', entitlementsIn(cooperative)],
  ] as const
  for (const [what, times] of sums) counts.set(what, (counts.get(what) ?? 0) + times)
  return wrong
}
