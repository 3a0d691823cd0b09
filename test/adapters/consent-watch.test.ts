import { afterEach, describe, expect, it, vi } from 'vitest'
import { ConsentWatch } from '../../services/adapters/consent-watch.ts'
import { openLog } from '../../services/adapters/log.ts'
import type { Head } from '../../services/core/chain-records.ts'
import { servableReasons } from '../../services/core/consent.ts'
import type { Chain } from '../../services/core/ports.ts'

const log = openLog({ process: 'test', level: 'silent' })
const headAt = (number: number): Head => ({
  number,
  hash: `0x${number}`,
  parentHash: `0x${number - 1}`,
  timestamp: 1000 + number,
})
const reasonOf = (name: (typeof servableReasons)[number]) => ({ reason: BigInt(servableReasons.indexOf(name)), because: '0x' })

/** A chain whose verdicts are played; each is asked for by its arguments and block. */
function scene(verdict: (args: readonly unknown[], block: number) => unknown = () => reasonOf('servable')) {
  let head = headAt(1)
  const asked: string[] = []
  const chain = {
    head: async () => head,
    read: async ({ args }: { args: readonly unknown[] }, block: number) => {
      asked.push(`${args.slice(0, 3).join(' ')} at ${block}`)
      return verdict(args, block)
    },
  } as unknown as Chain
  const watch = new ConsentWatch({ chain, log, blockMs: 1000, refusal: 'consent.refused' })
  return {
    watch,
    asked,
    async see(number: number) {
      head = headAt(number)
      await expect.poll(() => watch.head?.number).toBe(number)
    },
  }
}

const use = { modelId: '0xab', purpose: 1, jurisdiction: 2 }

describe('the consent watch', () => {
  afterEach(() => void vi.restoreAllMocks())

  it('asks the chain once for each use and block', async () => {
    const { watch, asked, see } = scene()
    await using _ = watch
    await see(1)
    expect(await Promise.all([watch.require(use), watch.require(use)])).toEqual([headAt(1), headAt(1)])
    expect(await watch.require({ ...use })).toEqual(headAt(1))
    expect(asked).toEqual(['0xab 1 2 at 1'])
    for (const other of [
      { modelId: '0xac' },
      { purpose: 12 },
      { purpose: 11, jurisdiction: 22 },
      { purpose: 1, jurisdiction: 258 },
    ])
      await watch.require({ ...use, ...other })
    expect(asked).toHaveLength(5)
    await see(2)
    expect(await watch.require(use)).toEqual(headAt(2))
    expect(asked.at(-1)).toBe('0xab 1 2 at 2')
  })

  it('refuses from the block on in which consent ends, what it has permitted before included', async () => {
    const { watch, see } = scene((_args, block) => reasonOf(block < 2 ? 'servable' : 'consent-ended'))
    await using _ = watch
    await see(1)
    await watch.require(use)
    await see(2)
    await expect(watch.require(use)).rejects.toMatchObject({ code: 'consent.refused' })
    await expect(watch.require(use)).rejects.toMatchObject({ code: 'consent.refused' })
  })

  it('takes no verdict of an earlier block for one of the present', async () => {
    const late = Promise.withResolvers<unknown>()
    const { watch, see } = scene((_args, block) => (block < 2 ? late.promise : reasonOf('consent-ended')))
    await using _ = watch
    await see(1)
    const before = watch.require(use)
    await see(2)
    late.resolve(reasonOf('servable'))
    expect(await before).toEqual(headAt(1))
    await expect(watch.require(use)).rejects.toMatchObject({ code: 'consent.refused' })
  })

  it('permits nothing while no block comes, also what it has permitted at the last one', async () => {
    const { watch, see } = scene()
    await using _ = watch
    await see(1)
    await watch.require(use)
    const nowMs = performance.now()
    vi.spyOn(performance, 'now').mockImplementation(() => nowMs + 2100)
    await expect(watch.require(use)).rejects.toMatchObject({ code: 'consent.stale' })
  })
})
