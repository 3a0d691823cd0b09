import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Cooperative } from '../local/cooperative.ts'
import type { Draw } from './draw.ts'
import { moods, type ShakyChain } from './shaky-chain.ts'

export interface Patient {
  cooperative: Cooperative
  dir: string
  chain: ShakyChain
  draw: Draw
}

const DEEPEST = 20
const LONGEST_MOOD_MS = 5000

/** What can go wrong; each returns its name once it has happened. */
const faults: ((patient: Patient) => Promise<string>)[] = [
  (patient) => kill(patient, 'gateway'),
  (patient) => kill(patient, 'settler'),
  (patient) => kill(patient, 'indexer'),
  (patient) => kill(patient, 'provider'),
  async ({ dir }) => {
    const pid = Number(readFileSync(join(dir, 'postgres', 'data', 'postmaster.pid'), 'utf8').split('\n')[0])
    if (pid > 1) process.kill(pid, 'SIGKILL')
    return 'kill postgres'
  },
  async ({ chain, draw }) => {
    const mood = draw.of(moods)
    chain.mood = mood
    await delay(500 + draw.below(LONGEST_MOOD_MS))
    chain.mood = 'well'
    return `node ${mood}`
  },
  async ({ chain, draw }) => {
    const lose = draw.chance(0.5)
    await chain.reorganise(1 + draw.below(DEEPEST), { lose })
    return lose ? 'reorganisation, transactions lost' : 'reorganisation'
  },
]

/** One fault, chosen at random. A process that is just being started again, or a database that is not up, counts as hit. */
export async function strike(patient: Patient): Promise<string> {
  return patient.draw
    .of(faults)(patient)
    .catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ESRCH') return 'missed'
      throw error
    })
}

async function kill({ cooperative }: Patient, name: string): Promise<string> {
  const victim = cooperative.processes().find((candidate) => candidate.name === name)
  if (!victim) return 'missed'
  process.kill(victim.pid, 'SIGKILL')
  return `kill ${name}`
}
