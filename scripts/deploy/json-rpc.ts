import { GranaryError } from '../../services/core/errors.ts'

const TIMEOUT_MS = 30_000

export interface RpcCall {
  readonly method: string
  readonly params?: readonly unknown[] | object
}

export type Request = (call: RpcCall) => Promise<unknown>

/** An EIP-1193 request function over plain HTTP: a refusal of the chain keeps its code and data, as Ignition reads them. */
export function connectJsonRpc(url: string): Request {
  if (!URL.canParse(url)) throw new GranaryError('config.invalid', `${url} is not the URL of a chain.`)
  let id = 0
  return async ({ method, params = [] }) => {
    const answer = await post(url, JSON.stringify({ jsonrpc: '2.0', id: ++id, method, params }))
    if (answer.error) throw Object.assign(new Error(answer.error.message), { code: answer.error.code, data: answer.error.data })
    return answer.result
  }
}

interface RpcAnswer {
  result?: unknown
  error?: { code: number; message: string; data?: unknown }
}

async function post(url: string, body: string): Promise<RpcAnswer> {
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
      signal: AbortSignal.timeout(TIMEOUT_MS),
    })
    return (await response.json()) as RpcAnswer
  } catch (cause) {
    throw new GranaryError('chain.unavailable', `No JSON-RPC answer from ${new URL(url).host}.`, { cause })
  }
}
