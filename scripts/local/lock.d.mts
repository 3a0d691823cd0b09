export interface LockHolder {
  pid: number
  [fact: string]: unknown
}
export function acquireLock(
  path: string,
  facts?: Record<string, unknown>,
): { ok: true; release: () => void } | { ok: false; holder: LockHolder }
export function processAlive(holder: { pid: number; ticks?: unknown }): boolean
export function startTicks(pid: number): string
