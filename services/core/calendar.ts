/** Days and months in UTC as numbers since 1970, from seconds of the chain's clock. */
export const DAY_SECONDS = 86_400

export const dayOf = (seconds: number): number => Math.floor(seconds / DAY_SECONDS)

export function monthOf(seconds: number): number {
  let month = Math.floor(seconds / (30.44 * DAY_SECONDS))
  while (startOfMonth(month) > seconds) month -= 1
  while (startOfMonth(month + 1) <= seconds) month += 1
  return month
}

export const startOfMonth = (month: number): number => Date.UTC(1970, month, 1) / 1000

/** 2026-11-22. */
export function dayText(day: number): string {
  const month = monthOf(day * DAY_SECONDS)
  return `${monthText(month)}-${pad(day - startOfMonth(month) / DAY_SECONDS + 1)}`
}

/** 2026-11. */
export function monthText(month: number): string {
  return `${1970 + Math.floor(month / 12)}-${pad((month % 12) + 1)}`
}

/** null for what is no day of the calendar from 1970 on. */
export function parseDay(text: string): number | null {
  const match = /^([0-9]{4}-[0-9]{2})-([0-9]{2})$/.exec(text)
  const month = match?.[1] ? parseMonth(match[1]) : null
  if (month === null) return null
  const day = startOfMonth(month) / DAY_SECONDS + Number(match?.[2]) - 1
  return dayText(day) === text ? day : null
}

export function parseMonth(text: string): number | null {
  const match = /^([0-9]{4})-([0-9]{2})$/.exec(text)
  if (!match) return null
  const month = (Number(match[1]) - 1970) * 12 + Number(match[2]) - 1
  return month >= 0 && monthText(month) === text ? month : null
}

function pad(number: number): string {
  return String(number).padStart(2, '0')
}
