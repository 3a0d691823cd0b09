import { GranaryError } from '../core/errors.ts'
import type { Ledger } from '../core/ports.ts'
import type { Payer, PayerBook } from './payer.ts'

/** What a route needs of a request to know who sent it. */
export interface Authenticated {
  method: string
  url: string
  headers: Record<string, string | string[] | undefined>
  rawBody?: Uint8Array
}

export interface Caller extends Payer {
  /** The account's own payer, who sees all of it; any other key sees what is its own. */
  isPayer: boolean
}

/** Who asks about an account: routes that cost nothing and are nobody else's business. */
export interface Callers {
  /** An API key or a session; throws `credential.unknown` where there is none. */
  known(request: Authenticated): Promise<Caller>
  /** Whoever holds a granted key buys with it; what other keys there are is the payer's affair. */
  payer(request: Authenticated): Promise<Caller>
}

export function openCallers({ ledger, payers }: { ledger: Pick<Ledger, 'account'>; payers: PayerBook }): Callers {
  async function known({ method, url, headers, rawBody = new Uint8Array() }: Authenticated): Promise<Caller> {
    const payer = await payers.identify({ method, path: url, headers, rawBody })
    if (!payer) throw new GranaryError('credential.unknown', 'Send an API key or a session.')
    const account = await ledger.account(payer.accountId)
    // An account that the ledger does not know has nothing to see yet.
    return { ...payer, isPayer: account === null || account.payer === payer.key }
  }

  return {
    known,
    async payer(request) {
      const caller = await known(request)
      if (caller.isPayer) return caller
      throw new GranaryError('credential.forbidden', "Only the account's payer sees, limits and ends its API keys.")
    },
  }
}
