import type { Chain } from '../core/ports.ts'

/** The purposes dictionary, in bit order. */
export type Purposes = () => Promise<readonly string[]>

/**
 * Governance only ever appends to the dictionary, so the last list read is good enough while another is fetched, and while the
 * chain does not answer.
 */
export function openPurposes({ chain, maxAgeMs }: { chain: Chain; maxAgeMs: number }): Purposes {
  let readMs = Number.NEGATIVE_INFINITY
  let known: readonly string[] | null = null
  let reading: Promise<readonly string[]> | null = null

  function read(): Promise<readonly string[]> {
    reading ??= readPurposes(chain)
      .then((names) => {
        known = names
        readMs = performance.now()
        return names
      })
      .finally(() => {
        reading = null
      })
    return reading
  }

  return async () => {
    if (known === null) return read()
    // A failed refresh is tried again by the next call; the list stays.
    if (performance.now() - readMs >= maxAgeMs) read().catch(() => undefined)
    return known
  }
}

async function readPurposes(chain: Chain): Promise<string[]> {
  const count = Number(await chain.read({ contract: 'CooperativeParameters', method: 'purposes', args: [] }))
  const names = Array.from({ length: count }, (_, purpose) =>
    chain.read({ contract: 'CooperativeParameters', method: 'purposeName', args: [purpose] }),
  )
  return (await Promise.all(names)).map(String)
}
