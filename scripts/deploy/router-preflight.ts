import { Interface, TypedDataEncoder } from 'ethers'
import { GranaryError } from '../../services/core/errors.ts'
import { domainOf } from '../../services/core/messages.ts'
import type { Request } from './json-rpc.ts'
import { invalid, requireToken } from './preflight.ts'

const views = new Interface([
  'function TOKEN() view returns (address)',
  'function MAX_SETTLEMENT_SECONDS() view returns (uint40)',
  'function name() view returns (string)',
  'function version() view returns (string)',
  'function DOMAIN_SEPARATOR() view returns (bytes32)',
])

/**
 * The escrow must be one, with a token that x402 clients can pay in: they sign under the name and version that a 402 tells
 * them, so these must give the token's own domain.
 */
export async function requireEscrow({
  request,
  escrow,
  chainId,
}: {
  request: Request
  escrow: string
  chainId: number
}): Promise<void> {
  const seconds = await view({ request, address: escrow, name: 'MAX_SETTLEMENT_SECONDS' })
  if (typeof seconds !== 'bigint' || seconds === 0n) throw invalid(`${escrow} is no InferenceEscrow.`, { escrow })
  const token = await requireToken({ request, token: String(await view({ request, address: escrow, name: 'TOKEN' })) })
  const [name, version, separator] = await Promise.all(
    ['name', 'version', 'DOMAIN_SEPARATOR'].map((asked) => view({ request, address: token, name: asked })),
  )
  const verifier = { chainId: BigInt(chainId), address: token, name: String(name), version: String(version) }
  if (TypedDataEncoder.hashDomain(domainOf('Token', verifier)) === separator) return
  throw invalid(`The token ${token} does not sign under its name() and version(): x402 clients could not pay in it.`, { token })
}

async function view({ request, address, name }: { request: Request; address: string; name: string }): Promise<unknown> {
  try {
    const data = views.encodeFunctionData(name)
    const answer = await request({ method: 'eth_call', params: [{ to: address, data }, 'latest'] })
    return views.decodeFunctionResult(name, String(answer))[0]
  } catch (cause) {
    if (cause instanceof GranaryError) throw cause
    throw invalid(`${address} does not answer ${name}().`, { address, cause })
  }
}
