export interface Share {
  found: number
  hit: number
}

/** What the tests ran of one source file. */
export interface FileCoverage {
  file: string
  lines: Share
  branches: Share
  missedLines: readonly number[]
  /** Lines with a branch that is never taken, such as a `require` that never fails. */
  missedBranches: readonly number[]
}

/** Reads forge's lcov report; of files without anything to run it says nothing. */
export function readCoverage(report: string): FileCoverage[] {
  return report
    .split('end_of_record')
    .flatMap((record) => {
      const file = /^SF:(.+)$/m.exec(record)?.[1]
      if (file === undefined) return []
      const lines = [...record.matchAll(/^DA:(\d+),(\d+)/gm)].map(([, line, count]) => ({
        line: Number(line),
        hit: Number(count) > 0,
      }))
      // A branch that was never reached has a dash for its count.
      const branches = [...record.matchAll(/^BRDA:(\d+),\d+,\d+,(\d+|-)$/gm)].map(([, line, count]) => ({
        line: Number(line),
        hit: count !== '-' && Number(count) > 0,
      }))
      return [
        {
          file,
          lines: shareOf(lines),
          branches: shareOf(branches),
          missedLines: missed(lines),
          missedBranches: missed(branches),
        },
      ]
    })
    .filter(({ lines }) => lines.found > 0)
    .sort((a, b) => a.file.localeCompare(b.file))
}

export function sumOf(files: readonly FileCoverage[]): { lines: Share; branches: Share } {
  const sum = (part: (file: FileCoverage) => Share): Share => ({
    found: files.reduce((total, file) => total + part(file).found, 0),
    hit: files.reduce((total, file) => total + part(file).hit, 0),
  })
  return { lines: sum(({ lines }) => lines), branches: sum(({ branches }) => branches) }
}

/** Nothing to cover is all covered; a report of nothing at all is not. */
export function percentOf({ found, hit }: Share): number {
  return found === 0 ? 100 : (hit / found) * 100
}

/** A line for each file, and after it what the tests never did there. */
export function tableOf(files: readonly FileCoverage[]): string[] {
  const width = Math.max(0, ...files.map(({ file }) => file.length))
  const share = (part: Share) => `${percentOf(part).toFixed(1).padStart(6)} % ${`(${part.hit}/${part.found})`.padEnd(10)}`
  return files.flatMap(({ file, lines, branches, missedLines, missedBranches }) => [
    `${file.padEnd(width)}  lines ${share(lines)} branches ${share(branches)}`.trimEnd(),
    ...(missedLines.length > 0 ? [`  lines never run: ${missedLines.join(', ')}`] : []),
    ...(missedBranches.length > 0 ? [`  branches never taken, on lines: ${missedBranches.join(', ')}`] : []),
  ])
}

function shareOf(items: readonly { hit: boolean }[]): Share {
  return { found: items.length, hit: items.filter(({ hit }) => hit).length }
}

function missed(items: readonly { line: number; hit: boolean }[]): number[] {
  return [...new Set(items.flatMap(({ line, hit }) => (hit ? [] : [line])))].sort((a, b) => a - b)
}
