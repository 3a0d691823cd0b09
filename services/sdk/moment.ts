const MINUTE = 60
const steps = [
  { unit: 'day', seconds: 24 * 60 * MINUTE },
  { unit: 'hour', seconds: 60 * MINUTE },
  { unit: 'minute', seconds: MINUTE },
  { unit: 'second', seconds: 1 },
] as const

/** A time as people here say it, how far off it is if `now` is known, and as everybody writes it: seconds since 1970. */
export function momentText(at: number, now: number | null): string {
  const date = new Date(at * 1000)
  const local = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'long' }).format(date)
  const away = now === null ? '' : `${awayText(at - now)}, `
  return `${local} (${away}${date.toISOString().replace('.000Z', 'Z')})`
}

/** In the largest unit of which there are two at least: rounding never halves it. */
function awayText(seconds: number): string {
  const far = Math.abs(seconds)
  const { unit, seconds: size } = steps.find((step) => far >= 2 * step.seconds) ?? { unit: 'second', seconds: 1 }
  return new Intl.RelativeTimeFormat(undefined, { numeric: 'always' }).format(Math.round(seconds / size), unit)
}
