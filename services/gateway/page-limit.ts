/** How many lines a caller gets at once; what is no whole number is taken as left out. */
export function pageLimit(text: string | undefined, { fallback, most }: { fallback: number; most: number }): number {
  const asked = /^[0-9]{1,9}$/.test(text ?? '') ? Number(text) : fallback
  return Math.min(most, Math.max(1, asked))
}
