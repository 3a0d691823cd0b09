import type { FastifyInstance } from 'fastify'
import { accountIdOf } from '../../core/accounts.ts'
import { DepositBody, parseBody, SessionBody } from '../../core/api.ts'
import { GranaryError } from '../../core/errors.ts'
import type { Verifier } from '../../core/messages.ts'
import type { Chain, Ledger } from '../../core/ports.ts'
import type { AccountConfig, KeyStanding } from '../../core/selling-ledger.ts'
import type { Callers } from '../callers.ts'
import { describeLimits } from '../limits.ts'
import type { Relay } from '../relay.ts'
import type { Session, SessionBook } from '../session-book.ts'
import type { Vault } from '../vault.ts'
import { jsonSafe } from './usage.ts'

export interface AccountsContext {
  chain: Chain
  ledger: Ledger
  sessions: SessionBook
  callers: Callers
  vault: Vault
  relay: Relay
  escrow: Verifier
  token: string
  /** Chain time. */
  clock: () => number
  /** In lower case, and of this gateway's collector. */
  ours: (account: AccountConfig) => AccountConfig
}

/** Accounts of payers at this gateway: sessions, deposits by signature, standing. */
export function accountRoutes(app: FastifyInstance, context: AccountsContext): void {
  const { chain, ledger, sessions, callers, relay, escrow, token, vault, clock, ours } = context

  app.post('/v1/sessions', async (request) => {
    const { config, ...session } = sessions.verify(parseBody(SessionBody, request.body), clock())
    await requireGranted({ ...session, config })
    await sessions.keep(session)
    const standing = await ledger.standing(session.accountId, session.key)
    return {
      sessionId: session.sessionId,
      accountId: session.accountId,
      gatewayKey: vault.sessionPublicKey,
      standing: describe(standing, session.key === config.payer),
    }
  })

  app.post('/v1/deposits', async (request) => {
    const body = parseBody(DepositBody, request.body)
    const config = ours(body.account)
    const accountId = accountIdOf(config, { ...escrow, token })
    const args = [config, body.amount, body.validAfter, body.validBefore, body.salt, body.signature]
    const outcome = await relay.submit({ contract: 'InferenceEscrow', method: 'depositWithAuthorization', args })
    return { accountId, transaction: outcome.hash, block: outcome.block }
  })

  app.get('/v1/account', async (request) => {
    const { accountId, key, isPayer } = await callers.known(request)
    const [standing, limits] = await Promise.all([ledger.standing(accountId, key), ledger.limits(accountId)])
    const limitsOf = (whose: string | null) =>
      describeLimits(
        limits.find((one) => one.key === whose),
        clock(),
      )
    const accountLimits = isPayer ? { accountLimits: limitsOf(null) } : {}
    return { accountId, key, standing: describe(standing, isPayer), limits: limitsOf(key), ...accountLimits }
  })

  /** A stranger's key gets no session, so it can neither look into an account nor leave vouchers there. */
  async function requireGranted(of: Pick<Session, 'accountId' | 'key'> & { config: AccountConfig }): Promise<void> {
    const { accountId, key, config } = of
    if (key === config.payer) return
    const granted = (await chain.read({ contract: 'InferenceEscrow', method: 'key', args: [accountId, key] })) as {
      cap: bigint
      revokedAt: bigint
    }
    if (granted.cap > 0n && granted.revokedAt === 0n) return
    throw new GranaryError('credential.forbidden', 'The account has not granted this key, or has revoked it.', { accountId, key })
  }
}

/** Of a key that is not the payer's own: nothing about the rest of the account. */
function describe(standing: KeyStanding | null, isPayer: boolean): Record<string, unknown> | null {
  if (standing === null) return null
  if (isPayer) return jsonSafe(standing)
  const { accountId, key, spent, reserved, ceiling, cap, usageHead } = standing
  return jsonSafe({ accountId, key, spent, reserved, ceiling, cap, usageHead })
}
