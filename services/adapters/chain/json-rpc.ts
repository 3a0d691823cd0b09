import { FetchRequest, isError, JsonRpcProvider, Network } from 'ethers'
import { GranaryError } from '../../core/errors.ts'

/** What the node answered instead of a result. */
export interface RpcRefusal {
  message: string
  /** The contract said no, rather than the node. */
  reverted: boolean
  /** Revert data, where there is any. */
  data: string | null
}

export type RpcAnswer = { ok: true; result: unknown } | { ok: false; refusal: RpcRefusal; cause: unknown }

/** JSON-RPC with a time limit per request; a node that cannot be reached is `chain.unavailable`, a refusal is an answer. */
export interface JsonRpc {
  ask(method: string, params: readonly unknown[]): Promise<RpcAnswer>
  /** As `ask`, for questions that a healthy node never refuses. */
  send(method: string, params: readonly unknown[]): Promise<unknown>
  close(): void
}

export function openJsonRpc(options: { rpcUrl: string; chainId: bigint; timeoutMs: number }): JsonRpc {
  const request = new FetchRequest(options.rpcUrl)
  request.timeout = options.timeoutMs
  const network = Network.from(options.chainId)
  // No cache and no batches: what is read is what the node says now, and one slow answer holds up no other.
  const provider = new JsonRpcProvider(request, network, { staticNetwork: network, cacheTimeout: -1, batchMaxCount: 1 })

  const ask = async (method: string, params: readonly unknown[]): Promise<RpcAnswer> => {
    try {
      return { ok: true, result: await provider.send(method, [...params]) }
    } catch (cause) {
      const refusal = refusalOf(cause)
      if (refusal) return { ok: false, refusal, cause }
      throw unavailable(method, cause)
    }
  }
  return {
    ask,
    async send(method, params) {
      const answer = await ask(method, params)
      if (answer.ok) return answer.result
      throw unavailable(method, answer.cause, answer.refusal.message)
    },
    close: () => provider.destroy(),
  }
}

function unavailable(method: string, cause: unknown, detail?: string): GranaryError {
  const why = detail ?? (cause instanceof Error ? cause.message : String(cause))
  return new GranaryError('chain.unavailable', `The chain did not answer ${method}: ${why}`, { cause, method })
}

/** ethers wraps the node's own error object differently by method; one that holds none came from the network. */
function refusalOf(error: unknown): RpcRefusal | null {
  const message = nodeMessage(error)
  if (message === null) return null
  const data = isError(error, 'CALL_EXCEPTION') ? error.data : null
  return { message, data, reverted: data !== null || /revert/i.test(message) }
}

function nodeMessage(error: unknown): string | null {
  if (typeof error !== 'object' || error === null) return null
  for (const place of [error, 'info' in error ? error.info : null]) {
    if (typeof place !== 'object' || place === null || !('error' in place)) continue
    const found = place.error
    if (typeof found === 'object' && found !== null && 'code' in found && 'message' in found && typeof found.code === 'number') {
      return String(found.message)
    }
  }
  return null
}
