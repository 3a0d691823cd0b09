const MOST = 100_000

/** Whose requests are running, as this process reserved them: what a commit would otherwise have to read first. */
export interface RunningRequests {
  add(requestId: string, of: { accountId: string; key: string }): void
  find(requestId: string): { accountId: string; key: string } | null
  end(requestId: string): void
}

export function openRunningRequests(): RunningRequests {
  const running = new Map<string, { accountId: string; key: string }>()
  return {
    add(requestId, { accountId, key }) {
      const oldest = running.keys().next()
      if (running.size >= MOST && !oldest.done) running.delete(oldest.value)
      running.set(requestId, { accountId, key })
    },
    find: (requestId) => running.get(requestId) ?? null,
    end: (requestId) => void running.delete(requestId),
  }
}
