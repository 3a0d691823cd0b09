import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { Transaction, Wallet } from 'ethers'
import type { Request, RpcCall } from './json-rpc.ts'

interface TransactionRequest {
  from: string
  to?: string
  data: string
  value: string
  nonce: string
  gas: string
  gasPrice?: string
  maxFeePerGas?: string
  maxPriorityFeePerGas?: string
}

export interface LocalSigner {
  address: string
  request: Request
  /** Sends again what was signed with this nonce; the hash if the chain now has it. */
  resend(nonce: number): Promise<string | null>
}

/**
 * Signs here what a node with accounts of its own would sign, so that the chain sees raw transactions only. Each is written to
 * `folder` before it is sent: after a kill nobody has to guess whether it went out.
 */
export function withLocalSigner(options: { request: Request; key: string; chainId: number; folder: string }): LocalSigner {
  const { request, key, chainId, folder } = options
  const wallet = new Wallet(key)
  const fileOf = (nonce: number) => path.join(folder, `${wallet.address}-${nonce}.hex`)

  const send = async ({ from: _from, gas, nonce, ...rest }: TransactionRequest) => {
    const raw = await wallet.signTransaction({ ...rest, nonce: Number(nonce), gasLimit: gas, chainId })
    mkdirSync(folder, { recursive: true })
    writeFileSync(fileOf(Number(nonce)), raw, { flush: true })
    return request({ method: 'eth_sendRawTransaction', params: [raw] })
  }
  return {
    address: wallet.address,
    async request(call: RpcCall) {
      if (call.method === 'eth_accounts') return [wallet.address]
      if (call.method === 'eth_sendTransaction') return send((call.params as [TransactionRequest])[0])
      return request(call)
    },
    async resend(nonce) {
      if (!existsSync(fileOf(nonce))) return null
      const raw = readFileSync(fileOf(nonce), 'utf8')
      // Refused when the chain has it already, or has another one with this nonce: the look-up below tells them apart.
      await request({ method: 'eth_sendRawTransaction', params: [raw] }).catch(() => null)
      const hash = Transaction.from(raw).hash
      const found = await request({ method: 'eth_getTransactionByHash', params: [hash] })
      return found === null ? null : hash
    },
  }
}
