/** Draws that the seed alone decides (xoshiro128**, seeded by splitmix32 over the text). */
export interface Random {
  /** From 0 to below `limit`. */
  below(limit: number): number
  between(least: number, most: number): number
  chance(probability: number): boolean
  pick<T>(list: readonly T[]): T
  /** Null for an empty list. */
  any<T>(list: readonly T[]): T | null
  weighted<T>(list: readonly (readonly [T, number])[]): T
}

export function randomOf(seed: string): Random {
  const state = seedWords(seed)
  const next = (): number => {
    const [a, b, c, d] = state
    const result = Math.imul(rotate(Math.imul(b, 5), 7), 9) >>> 0
    const shifted = b << 9
    const [mixedC, mixedD] = [c ^ a, d ^ b]
    state[0] = a ^ mixedD
    state[1] = b ^ mixedC
    state[2] = mixedC ^ shifted
    state[3] = rotate(mixedD, 11)
    return result
  }
  const below = (limit: number) => Math.floor((next() / 2 ** 32) * limit)
  const any = <T>(list: readonly T[]): T | null => list[below(list.length)] ?? null
  const pick = <T>(list: readonly T[]): T => {
    const [found] = list.slice(below(list.length))
    if (found === undefined) throw new RangeError('There is nothing to pick from.')
    return found
  }
  return {
    below,
    any,
    pick,
    between: (least, most) => least + below(most - least + 1),
    chance: (probability) => next() / 2 ** 32 < probability,
    weighted(list) {
      let left = (next() / 2 ** 32) * list.reduce((sum, [, weight]) => sum + weight, 0)
      for (const [item, weight] of list) {
        left -= weight
        if (left < 0) return item
      }
      return pick(list)[0]
    },
  }
}

type Words = [number, number, number, number]

function seedWords(seed: string): Words {
  let hash = 0x9e3779b9
  for (const letter of seed) hash = Math.imul(hash ^ letter.charCodeAt(0), 0x85ebca6b) ^ (hash >>> 13)
  const word = () => {
    hash = (hash + 0x9e3779b9) | 0
    const once = Math.imul(hash ^ (hash >>> 16), 0x21f0aaad)
    const twice = Math.imul(once ^ (once >>> 15), 0x735a2d97)
    return twice ^ (twice >>> 15)
  }
  return [word(), word(), word(), word()]
}

function rotate(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits))
}
