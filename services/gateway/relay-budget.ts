/** What the gateway pays for acts of others: so many acts, and so much gas, in a period. What was used drains evenly. */
export interface Cost {
  acts: number
  gas: number
}

export interface Budget {
  /** Until `cost` fits: 0 if it does now, Infinity if it never will. */
  waitMs(cost: Cost): number
  /** A negative cost gives back. */
  add(cost: Cost): void
}

export interface BudgetOptions {
  limit: Cost
  periodMs: number
  clockMs: () => number
}

interface Level extends Cost {
  atMs: number
}

const UNUSED: Level = { acts: 0, gas: 0, atMs: 0 }
/** Fractions of an act drain; less than this is no wait. */
const NO_WAIT_MS = 1

export function openBudget(options: BudgetOptions): Budget {
  const level: Level = { acts: 0, gas: 0, atMs: options.clockMs() }
  return budgetOf(() => level, options)
}

/** A budget of its own for each key. At most `most` are remembered: who came longest ago, and has drained most, is forgotten first. */
export function openBudgets(options: BudgetOptions & { most: number }): { of(key: string): Budget; size(): number } {
  const levels = new Map<string, Level>()
  const keep = (key: string): Level => {
    const level = levels.get(key) ?? { acts: 0, gas: 0, atMs: options.clockMs() }
    // Moves it to the end: a Map keeps the order of insertion.
    levels.delete(key)
    const oldest = levels.keys().next()
    if (levels.size >= options.most && !oldest.done) levels.delete(oldest.value)
    levels.set(key, level)
    return level
  }
  return {
    of: (key) => budgetOf((writes) => (writes ? keep(key) : (levels.get(key) ?? UNUSED)), options),
    size: () => levels.size,
  }
}

/** Takes `cost` from all of them, or from none: then in how many milliseconds it would fit. */
export function draw(budgets: readonly Budget[], cost: Cost): number {
  const waitMs = Math.max(0, ...budgets.map((budget) => budget.waitMs(cost)))
  if (waitMs === 0) for (const budget of budgets) budget.add(cost)
  return waitMs
}

function budgetOf(levelFor: (writes: boolean) => Level, options: BudgetOptions): Budget {
  const { limit, periodMs } = options
  return {
    waitMs(cost) {
      const { acts, gas } = drained(levelFor(false), options)
      const waitFor = (used: number, more: number, most: number) => {
        if (more > most) return Number.POSITIVE_INFINITY
        const waitMs = ((used + more - most) / most) * periodMs
        return waitMs < NO_WAIT_MS ? 0 : waitMs
      }
      return Math.max(waitFor(acts, cost.acts, limit.acts), waitFor(gas, cost.gas, limit.gas))
    },
    add(cost) {
      const level = levelFor(true)
      const now = drained(level, options)
      level.acts = Math.max(0, now.acts + cost.acts)
      level.gas = Math.max(0, now.gas + cost.gas)
      level.atMs = options.clockMs()
    },
  }
}

function drained({ acts, gas, atMs }: Level, { limit, periodMs, clockMs }: BudgetOptions): Cost {
  const part = Math.max(0, clockMs() - atMs) / periodMs
  return { acts: Math.max(0, acts - part * limit.acts), gas: Math.max(0, gas - part * limit.gas) }
}
