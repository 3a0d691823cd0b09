import { describe, expect, test } from 'vitest'
import type { StoredSession } from '../../../services/core/selling-ledger.ts'
import { fund, hex, newAccount, type OpenLedger, order, type TestAccount } from './ledger-acts.ts'

/** What gateways on one ledger know of each other: sessions, names, and what one left behind. */
export function ledgerSiblings(open: () => OpenLedger): void {
  const sessionOf = ({ accountId, key }: TestAccount, expiresAt: number): StoredSession => ({
    sessionId: hex(32),
    accountId,
    key,
    ephemeralKey: hex(32),
    gatewayKey: hex(32),
    expiresAt,
  })

  describe('siblings', () => {
    test('a session that one keeps is found by another, the same twice over, and forgotten once it has expired', async () => {
      const { ledger, reopen } = open()
      const account = await fund(ledger, newAccount(), { deposit: 1n })
      const [early, late] = [sessionOf(account, 100), sessionOf(account, 200)]
      for (const session of [early, late, late]) await ledger.keepSession(session)
      const other = await reopen()
      expect(await other.session(late.sessionId)).toEqual(late)
      expect(await other.forgetSessions({ expiredBefore: 200, limit: 1000 })).toBe(1)
      expect([await ledger.session(early.sessionId), await ledger.session(late.sessionId)]).toEqual([null, late])
      expect(await ledger.session(hex(32))).toBeNull()
    })

    test('sessions take no room for who has no money, and for who has, only so much', async () => {
      const { ledger } = open()
      const poor = newAccount()
      await ledger.knowAccount(poor.accountId, poor.config)
      const [unfunded, unknown] = [sessionOf(poor, 2 ** 32), sessionOf(newAccount(), 2 ** 32)]
      for (const session of [unfunded, unknown]) {
        await ledger.keepSession(session)
        expect(await ledger.session(session.sessionId)).toBeNull()
      }
      const account = await fund(ledger, newAccount(), { deposit: 1n })
      const sessions = Array.from({ length: 258 }, (_, index) => sessionOf(account, 2 ** 32 + index))
      for (const session of sessions) await ledger.keepSession(session)
      const kept = await Promise.all(sessions.map(({ sessionId }) => ledger.session(sessionId)))
      expect(kept.map((session) => session !== null)).toEqual(sessions.map((_, index) => index >= 2))
    })

    test('a name has one holder, and is free again once it is let go', async () => {
      const { ledger, reopen } = open()
      const other = await reopen()
      const owner = `gateway-${hex(8)}`
      const claim = await ledger.claimOwner(owner)
      await expect(other.claimOwner(owner)).rejects.toMatchObject({ code: 'start.already-running', evidence: { owner } })
      await using _beside = await other.claimOwner(`gateway-${hex(8)}`)
      await claim[Symbol.asyncDispose]()
      await using _again = await other.claimOwner(owner)
    }, 30_000)

    test('what a dead one left is released by a sibling once it is old enough, and nothing of a living one', async () => {
      const { ledger, reopen } = open()
      const other = await reopen()
      const account = await fund(ledger, newAccount(), { deposit: 1000n, ceiling: 1000n })
      const [dead, living] = [`gateway-${hex(8)}`, `gateway-${hex(8)}`]
      await using _claim = await ledger.claimOwner(living)
      const reserve = (owner: string, max: bigint, now: number) => ledger.reserve(order(account, { max, owner }), now)
      await reserve(dead, 1n, 100)
      await reserve(dead, 10n, 200)
      await reserve(living, 100n, 100)
      // Its payment may have been made on chain.
      await reserve(`x402:${dead}`, 500n, 100)
      const reserved = async () => (await ledger.standing(account.accountId, account.key))?.reserved
      await other.releaseOrphans({ reservedBefore: 100 })
      expect(await reserved()).toBe(611n)
      await other.releaseOrphans({ reservedBefore: 200 })
      expect(await reserved()).toBe(610n)
      await Promise.all([other.releaseOrphans({ reservedBefore: 300 }), ledger.releaseOrphans({ reservedBefore: 300 })])
      expect(await reserved()).toBe(600n)
    })
  })
}
