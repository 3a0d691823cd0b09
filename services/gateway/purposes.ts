import type { Chain } from '../core/ports.ts'

/** The purposes dictionary, in bit order: governance appends to it, so it is read again after `maxAgeMs`. */
export type Purposes = () => Promise<readonly string[]>

export function openPurposes({ chain, maxAgeMs }: { chain: Chain; maxAgeMs: number }): Purposes {
  let readMs = Number.NEGATIVE_INFINITY
  let known: Promise<string[]> | null = null
  return () => {
    if (known && performance.now() - readMs < maxAgeMs) return known
    readMs = performance.now()
    const reading = readPurposes(chain)
    reading.catch(() => {
      if (known === reading) known = null
    })
    known = reading
    return reading
  }
}

async function readPurposes(chain: Chain): Promise<string[]> {
  const count = Number(await chain.read({ contract: 'CooperativeParameters', method: 'purposes', args: [] }))
  const names = Array.from({ length: count }, (_, purpose) =>
    chain.read({ contract: 'CooperativeParameters', method: 'purposeName', args: [purpose] }),
  )
  return (await Promise.all(names)).map(String)
}
