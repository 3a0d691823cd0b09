import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { until } from '../../../scripts/story/world.ts'
import type { Reply, Sent } from './wire.ts'

/** Sends the same request until it is answered, as a client with an Idempotency-Key may; every refusal on the way is given. */
export async function insist(
  send: (sent: Sent) => Promise<Reply>,
  sent: Sent,
  timeoutMs = 60_000,
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
export async function untilLogged(
  dir: string,
  process: string,
  fits: (line: Record<string, unknown>) => boolean,
): Promise<Record<string, unknown>> {
  let found: Record<string, unknown> | undefined
  await until(
    `${process} to log it`,
    async () => {
      const lines = readFileSync(join(dir, 'logs', `${process}.log`), 'utf8').split('\n').filter(Boolean)
      found = lines.map(parsed).find(fits)
      return found !== undefined
    },
    60_000,
  )
  return found ?? {}
}

function parsed(line: string): Record<string, unknown> {
  try {
    return JSON.parse(line) as Record<string, unknown>
  } catch {
    return {}
  }
}
