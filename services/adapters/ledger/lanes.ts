import { GranaryError } from '../../core/errors.ts'

interface Waiting<Item, Done> extends PromiseWithResolvers<Done> {
  item: Item
}

export interface Lanes<Item, Done> {
  /** Items that wait for their turn. */
  readonly size: number
  add(lane: string, item: Item): Promise<Done>
}

/**
 * Work that would only wait for each other, as for one account's lock, goes one after the other; of the rest so many go at a time.
 * More than `waiting` are refused.
 */
export function openLanes<Item, Done>(options: {
  work: (item: Item) => Promise<Done>
  atOnce: number
  waiting: number
}): Lanes<Item, Done> {
  const { work, atOnce, waiting } = options
  const lanes = new Map<string, Waiting<Item, Done>[]>()
  const busy = new Set<string>()
  let size = 0

  function start(): void {
    for (const [name, queue] of lanes) {
      if (busy.size >= atOnce) return
      const one = busy.has(name) ? undefined : queue.shift()
      if (one !== undefined) void run(name, one)
    }
  }

  async function run(name: string, { item, resolve, reject }: Waiting<Item, Done>): Promise<void> {
    busy.add(name)
    size -= 1
    await work(item).then(resolve, reject)
    busy.delete(name)
    const left = lanes.get(name) ?? []
    lanes.delete(name)
    if (left.length > 0) lanes.set(name, left)
    start()
  }

  return {
    get size() {
      return size
    },
    add(name, item) {
      if (size >= waiting)
        return Promise.reject(new GranaryError('ledger.unavailable', 'Too much is waiting for the database.', { waiting }))
      const one = { item, ...Promise.withResolvers<Done>() }
      const queue = lanes.get(name)
      if (queue) queue.push(one)
      else lanes.set(name, [one])
      size += 1
      start()
      return one.promise
    },
  }
}
