import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { until } from '../../scripts/story/world.ts'
import type { ReceiptEvent, StepEvent } from '../../services/core/api.ts'
import { auditReceipts, openWitness } from '../../services/sdk/audit.ts'
import { eventsOf, type StreamEvent } from '../../services/sdk/event-stream.ts'
import { openStage, type Stage } from '../support/cooperative.ts'
import { VOICE_PRICE, voiceRequest } from './support/audio.ts'
import { untilLogged } from './support/patience.ts'
import { expectCharged } from './support/purse.ts'
import { type Scene, setScene } from './support/scene.ts'

// A killed gateway and the worker's way back to it may take half a minute each on a busy machine.
vi.setConfig({ testTimeout: 240_000 })

const SECONDS = 150
const STEP_SECONDS = 4
const STEPS = Math.ceil(SECONDS / STEP_SECONDS)
/** What a killed gateway may not have written down yet. */
const UNRECORDED_STEPS = 4

/** A recording heard in steps by a real worker behind a real gateway. */
describe('a streamed answer of a real cooperative', () => {
  let stage: Stage
  let scene: Scene
  let recording: string

  beforeAll(async () => {
    stage = await openStage('edges-streams')
    scene = await setScene(stage, { patient: true })
    recording = join(stage.dir, 'recording.json')
    writeFileSync(recording, JSON.stringify({ ...voiceRequest(SECONDS), stream: true }))
  }, 240_000)
  afterAll(async () => {
    await stage?.[Symbol.asyncDispose]()
  }, 60_000)

  /** curl as anybody would call it; `seen` hears of every event as it comes. */
  async function curl(seen: (event: StreamEvent, stop: () => void) => void, credential = scene.apiKey): Promise<StreamEvent[]> {
    const args = [
      '-N',
      '-s',
      '-H',
      `authorization: Bearer ${credential}`,
      '-H',
      'content-type: application/json',
      '-d',
      `@${recording}`,
    ]
    const child = spawn('curl', [...args, `${stage.gatewayUrl}/v1/infer`], { stdio: ['ignore', 'pipe', 'inherit'] })
    const ended = new Promise((resolve) => child.once('close', resolve))
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        child.stdout.on('data', (bytes: Buffer) => controller.enqueue(new Uint8Array(bytes)))
        child.stdout.once('end', () => controller.close())
      },
    })
    const events: StreamEvent[] = []
    try {
      for await (const event of eventsOf(new Response(body, { headers: { 'content-type': 'text/event-stream' } }))) {
        events.push(event)
        seen(event, () => child.kill('SIGKILL'))
      }
    } finally {
      await ended
    }
    return events
  }
  const stepsOf = (events: StreamEvent[]) => events.filter(({ event }) => event === 'step').map(({ data }) => data as StepEvent)
  const unreserved = () =>
    until('nothing to be reserved', async () => (await scene.purse.meter.standing()).accountReserved === '0', 30_000)
  const kill = (name: string) => {
    const pid = stage.pid(name)
    process.kill(pid, 'SIGKILL')
    return until(`${name} to be started again`, async () => ![0, pid].includes(stage.pid(name)), 60_000)
  }

  it('comes to curl -N with an API key step by step, and costs units times price', async () => {
    const before = await scene.purse.money()
    const arrivals: number[] = []
    const events = await curl(() => arrivals.push(performance.now()))
    expect(events.map(({ event }) => event)).toEqual([...Array(STEPS).fill('step'), 'receipt'])
    expect(stepsOf(events).at(-1)).toMatchObject({ index: STEPS - 1, of: STEPS, units: `${SECONDS}` })
    const receipt = events.at(-1)?.data as ReceiptEvent
    expect(receipt).toMatchObject({ charged: `${BigInt(SECONDS) * VOICE_PRICE}`, steps: STEPS, of: STEPS })
    expect((arrivals.at(-1) ?? 0) - (arrivals[0] ?? 0)).toBeGreaterThan(100)
    await expectCharged(scene.purse, before, BigInt(SECONDS) * VOICE_PRICE)
  })

  it('gives the same probabilities as the answer in one piece', async () => {
    const { stream: _, ...whole } = { ...voiceRequest(13), stream: true }
    const streamed = await scene.purse.meter.inferStream(whole)
    const heard: unknown[] = []
    for await (const { outputs } of streamed) heard.push(...(outputs[0]?.data ?? []))
    const { outputs } = await scene.purse.meter.infer(whole)
    expect(heard).toEqual(outputs[0]?.data)
    expect(streamed.receipt).toMatchObject({ charged: `${13n * VOICE_PRICE}` })
  })

  it('costs a client that is killed no more than what left for it, and not nothing', async () => {
    const before = await scene.purse.money()
    const seen = stepsOf(await curl(({ data }, stop) => (data as StepEvent).index === 5 && stop()))
    await unreserved()
    const after = await scene.purse.money()
    const units = (after.charged - before.charged) / VOICE_PRICE
    expect(units).toBeGreaterThanOrEqual(BigInt(STEP_SECONDS * seen.length))
    expect(units).toBeLessThan(BigInt(SECONDS))
    expect(after.lines).toBe(before.lines + 1)
  })

  it('ends with the reason and the receipt when its worker is killed', async () => {
    const before = await scene.purse.money()
    let restarted: Promise<unknown> = Promise.resolve()
    const events = await curl(({ event, data }) => {
      if (event === 'step' && (data as StepEvent).index === 5) restarted = kill('provider')
    })
    expect(events.slice(-2).map(({ event }) => event)).toEqual(['error', 'receipt'])
    expect(events.at(-2)?.data).toMatchObject({ code: 'provider.gone' })
    const steps = stepsOf(events)
    const charged = BigInt(STEP_SECONDS * steps.length) * VOICE_PRICE
    expect(events.at(-1)?.data).toMatchObject({ steps: steps.length, charged: `${charged}` })
    await expectCharged(scene.purse, before, charged)
    await restarted
    await stage.untilServing('silero-vad')
  })

  it('is charged for what came, less a few steps at most, when its gateway is killed with -9', async () => {
    const before = await scene.purse.money()
    let restarted: Promise<unknown> = Promise.resolve()
    const events = await curl(({ event, data }) => {
      if (event === 'step' && (data as StepEvent).index === 12) restarted = kill('gateway')
    })
    const steps = stepsOf(events)
    expect(steps.length).toBeLessThan(STEPS)
    await restarted
    const { count } = await untilLogged(stage.dir, 'gateway', ({ event }) => event === 'streams.committed')
    expect(count).toBe(1)
    await stage.untilServing('silero-vad')
    const after = await scene.purse.money()
    const units = (after.charged - before.charged) / VOICE_PRICE
    expect(units).toBeLessThanOrEqual(BigInt(STEP_SECONDS * steps.length))
    expect(units).toBeGreaterThanOrEqual(BigInt(STEP_SECONDS * (steps.length - UNRECORDED_STEPS)))
    expect({ reserved: after.reserved, lines: after.lines }).toEqual({ reserved: 0n, lines: before.lines + 1 })
  })

  it('leaves receipts that hold against the chain, those of cut streams too', async () => {
    const { granary } = scene.purse.person
    const file = await granary.account.receiptsFile()
    const { receipts, settled, pending } = await auditReceipts(file, openWitness(file, stage.cooperative.facts.rpcUrl))
    const { charged, lines } = await scene.purse.money()
    expect({ receipts, sum: settled + pending }).toEqual({ receipts: lines, sum: charged })
  })
})
