import { performance } from 'node:perf_hooks'
import { GranaryError } from '../../core/errors.ts'
import { openLanes } from './lanes.ts'

export interface Group<Item, Done> {
  /** One call for all of them; undefined for those that have to be done alone. */
  together(items: readonly Item[]): Promise<(Done | undefined)[]>
  alone(item: Item): Promise<Done>
  /** What of the items done alone would only wait for each other, as for one account's lock: they go one after the other. */
  laneOf(item: Item): string
  /** Items in one call. */
  most: number
  /** Items that may wait; more are refused. */
  waiting: number
  /** While this process's event loop is busy, a call waits for so many items, or so long. Without: for none. */
  gather?: { items: number; ms: number }
}

interface Waiting<Item, Done> extends PromiseWithResolvers<Done> {
  item: Item
}

/** Lanes at a time. Each takes a connection to the database, of which others need some too. */
export const ALONE_AT_ONCE = 6

/**
 * Group commit: what arrives while a call is running is handed on together as soon as it ends, so that many share one round
 * trip and one write to the disk, and a single one waits for nobody. What the shared call can't do, or whatever makes it
 * fail, is done alone: one bad item costs its neighbours a moment, never their result.
 */
export function openGroup<Item, Done>(group: Group<Item, Done>): (item: Item) => Promise<Done> {
  const { together, alone, laneOf, most, waiting, gather } = group
  const queue: Waiting<Item, Done>[] = []
  const lonely = openLanes<Item, Done>({ work: alone, atOnce: ALONE_AT_ONCE, waiting: Number.POSITIVE_INFINITY })
  const isBusy = openBusyness()
  let running = false
  let isFull: (() => void) | null = null

  /** On a busy processor the call would only take the place of what else waits for it; for more items it costs little more. */
  async function gathered(): Promise<void> {
    if (!gather || queue.length >= gather.items || !isBusy()) return
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, gather.ms)
    isFull = resolve
    await promise
    isFull = null
    clearTimeout(timer)
  }

  async function run(): Promise<void> {
    while (queue.length > 0) {
      await gathered()
      const taken = queue.splice(0, most)
      try {
        const done = await together(taken.map(({ item }) => item))
        taken.forEach((one, index) => {
          const result = done[index]
          if (result === undefined) leave(one)
          else one.resolve(result)
        })
      } catch (error) {
        // Whether it happened is not known, so it is not tried in another way.
        const lost = error instanceof GranaryError && error.code === 'ledger.unavailable'
        for (const one of taken) lost ? one.reject(error) : leave(one)
      }
    }
    running = false
  }

  function leave({ item, resolve, reject }: Waiting<Item, Done>): void {
    lonely.add(laneOf(item), item).then(resolve, reject)
  }

  return (item) => {
    if (queue.length + lonely.size >= waiting)
      return Promise.reject(new GranaryError('ledger.unavailable', 'Too much is waiting for the database.', { waiting }))
    const one = { item, ...Promise.withResolvers<Done>() }
    queue.push(one)
    if (gather && queue.length >= gather.items) isFull?.()
    if (!running) {
      running = true
      // Whatever else this turn of the event loop brings comes along.
      setImmediate(() => void run())
    }
    return one.promise
  }
}

const LOOK_MS = 100
const BUSY = 0.7

/** Whether the event loop had little time to wait, when last looked. */
function openBusyness(): () => boolean {
  let last = performance.eventLoopUtilization()
  let lookedMs = performance.now()
  let isBusy = false
  return () => {
    const nowMs = performance.now()
    if (nowMs - lookedMs >= LOOK_MS) {
      const now = performance.eventLoopUtilization()
      isBusy = performance.eventLoopUtilization(now, last).utilization > BUSY
      last = now
      lookedMs = nowMs
    }
    return isBusy
  }
}
