import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { until } from '../../../scripts/story/world.ts'
import type { Reply, Sent } from './wire.ts'

/** Sends the same request until it is answered, as a client with an Idempotency-Key may; every refusal on the way is given. */
export async function insist(
  send: (sent: Sent) => Promise<Reply>,
  sent: Sent,
  timeoutMs = 120_000,
): Promise<{ reply: Reply; refusals: Reply[] }> {
  const refusals: Reply[] = []
  const until = performance.now() + timeoutMs
  while (performance.now() < until) {
    const reply = await send(sent).catch(() => null)
    if (reply?.status === 200) return { reply, refusals }
    if (reply) refusals.push(reply)
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  throw new Error(`Not answered within ${timeoutMs} ms; last: ${refusals.at(-1)?.bytes.toString()}`)
}

/** Until a process of the cooperative has written a line that `fits`; gives it. */
export async function untilLogged(dir: string, process: string, fits: (line: Line) => boolean): Promise<Line> {
  let found: Line | undefined
  const look = async () => {
    found = loggedBy(dir, process).find(fits)
    return found !== undefined
  }
  await until(`${process} to log it`, look, 60_000)
  return found ?? {}
}

export type Line = Record<string, unknown>

/** The lines of a process's log so far. */
export function loggedBy(dir: string, process: string): Line[] {
  const lines = readFileSync(join(dir, 'logs', `${process}.log`), 'utf8').split('\n')
  return lines.map(parsed)
}

function parsed(line: string): Line {
  try {
    return JSON.parse(line) as Line
  } catch {
    return {}
  }
}
