import type { Signer } from 'ethers'
import { type ActFile, kindOfAct, type SignedAct } from '../core/acts.ts'
import { ActFileBody, parseBody } from '../core/api.ts'
import { GranaryError } from '../core/errors.ts'
import type { Context, Relayed } from './context.ts'
import { openContracts } from './contracts.ts'
import { encodeJson, type Http, type HttpRequest } from './http.ts'

/** What an act needs of the gateway before it is signed; everything else there would be the act itself. */
const PREPARING = ['/v1/content', '/v1/admissions']
const UNSENT: Relayed = { transaction: '', block: 0, gasUsed: '0', events: [] }

/** A context whose acts are kept instead of relayed. */
export function recordingContext(context: Context, acts: SignedAct[]): Context {
  return {
    ...context,
    http: withoutActs(context.http),
    async relay(contract, method, args) {
      acts.push(plain({ contract, method, args }))
      return UNSENT
    },
    contracts() {
      const contracts = context.contracts()
      return {
        ...contracts,
        async send(contract, method) {
          throw new GranaryError('request.malformed', `${contract}.${method} carries no signature: only its sender can send it.`)
        },
      }
    },
  }
}

export function actFileOf({ facts }: Context, acts: readonly SignedAct[]): ActFile {
  const names = new Set(acts.map(({ contract }) => contract))
  const contracts = Object.fromEntries(Object.entries(facts.contracts).filter(([name]) => names.has(name)))
  return { granary: 'acts/1', chainId: facts.chainId, contracts, acts: [...acts] }
}

/** Refuses what is no act by signature or errand: a stranger's file must not make the reader's wallet do anything else. */
export function readActFile(text: string): ActFile {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch (cause) {
    throw new GranaryError('request.malformed', 'The file of signed acts is no JSON.', { cause })
  }
  const file = parseBody(ActFileBody, parsed)
  for (const act of file.acts) {
    const name = `${act.contract}.${act.method}`
    if (kindOfAct(act) === null) throw new GranaryError('request.malformed', `${name} is no act that others may send.`)
    if (!Object.hasOwn(file.contracts, act.contract))
      throw new GranaryError('request.malformed', `The file does not say where ${act.contract} is.`)
  }
  return file
}

/** Through any gateway of the same cooperative, one after the other. */
export async function relayActs(file: ActFile, context: Context): Promise<string[]> {
  requireSame(file, { chainId: context.facts.chainId, contracts: context.facts.contracts })
  const transactions: string[] = []
  for (const { contract, method, args } of file.acts) transactions.push((await context.relay(contract, method, args)).transaction)
  return transactions
}

/** Straight to the chain, where `wallet` pays the gas; nothing but the gas can be lost to a false file. */
export async function sendActs(file: ActFile, { rpcUrl, wallet }: { rpcUrl: string; wallet: Signer }): Promise<string[]> {
  const contracts = openContracts({ rpcUrl, chainId: BigInt(file.chainId), addresses: file.contracts, wallet })
  const transactions: string[] = []
  for (const { contract, method, args } of file.acts)
    transactions.push((await contracts.send(contract, method, args)).transaction)
  return transactions
}

/** A file for another chain or other contracts would only cost gas: every signature in it names its own. */
export function requireSame(file: ActFile, known: { chainId: string; contracts: Record<string, string> }): void {
  const elsewhere = Object.entries(file.contracts).find(
    ([name, address]) => known.contracts[name]?.toLowerCase() !== address.toLowerCase(),
  )
  if (file.chainId === known.chainId && !elsewhere) return
  throw new GranaryError('request.malformed', 'The acts were signed for another cooperative.', {
    chainId: file.chainId,
    expected: known.chainId,
    ...(elsewhere ? { contract: elsewhere[0], address: elsewhere[1] } : {}),
  })
}

function withoutActs(http: Http): Http {
  const refuse = ({ method, path }: HttpRequest) => {
    if (method === 'GET' || PREPARING.includes(path)) return
    throw new GranaryError(
      'request.malformed',
      `${method} ${path} is the gateway's own act: it can't be signed for others to send.`,
    )
  }
  return {
    ...http,
    async send(request) {
      refuse(request)
      return http.send(request)
    },
    async json(request) {
      refuse(request)
      return http.json(request)
    },
  }
}

/** As it will be in the file. */
function plain(act: SignedAct): SignedAct {
  return JSON.parse(new TextDecoder().decode(encodeJson(act))) as SignedAct
}
