/** Random choices from one seed, so that a run can be told by its seed. */
export interface Draw {
  below(limit: number): number
  chance(probability: number): boolean
  of<T>(choices: readonly T[]): T
}

/** Mulberry32, by Tommy Ettinger: 32 bits of state, good enough to choose faults. */
export function openDraw(seed: number): Draw {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (limit: number) => Math.floor(next() * limit)
  return {
    below,
    chance: (probability) => next() < probability,
    of(choices) {
      const chosen = choices[below(choices.length)]
      if (chosen === undefined) throw new RangeError('There is nothing to choose from.')
      return chosen
    },
  }
}
