import { randomBytes } from 'node:crypto'
import { Wallet } from 'ethers'
import { describe, expect, it } from 'vitest'
import { nativeMacOf } from '../../services/adapters/signatures.ts'
import { accountIdOf } from '../../services/core/accounts.ts'
import { typedData } from '../../services/core/messages.ts'
import type { StoredSession } from '../../services/core/selling-ledger.ts'
import { deriveMacKey, macOf, x25519PublicKey } from '../../services/core/sessions.ts'
import { openSessionBook, type Session } from '../../services/gateway/session-book.ts'
import { openVault } from '../../services/gateway/vault.ts'
import { masterKey } from './support/counter.ts'

const escrow = { chainId: 1n, address: `0x${'e5'.repeat(20)}` }
const token = `0x${'70'.repeat(20)}`
const collector = `0x${'c0'.repeat(20)}`
const [OLD, NEW] = [masterKey('a1'), masterKey('b2')]

describe('the session book', () => {
  const stored = new Map<string, StoredSession>()
  let now = 1000
  const book = (...masterKeys: [Uint8Array, ...Uint8Array[]]) =>
    openSessionBook({
      ledger: {
        keepSession: async (session) => void stored.set(session.sessionId, session),
        session: async (sessionId) => stored.get(sessionId) ?? null,
      },
      vault: openVault(masterKeys),
      escrow,
      token,
      collector,
      clock: () => now,
    })

  async function openedWith(masterKeys: [Uint8Array, ...Uint8Array[]], expiresAt: number) {
    const wallet = new Wallet(Wallet.createRandom().privateKey)
    const secretKey = new Uint8Array(randomBytes(32))
    const account = { payer: wallet.address.toLowerCase(), collector, thawSeconds: 7200, salt: `0x${'00'.repeat(32)}` }
    const accountId = accountIdOf(account, { ...escrow, token })
    const value = { accountId, key: account.payer, ephemeralKey: x25519PublicKey(secretKey), expiresAt }
    const { domain, types } = typedData('InferenceEscrow', 'Session', escrow, value)
    const signature = await wallet.signTypedData(domain, types, value)
    const sessions = book(...masterKeys)
    const { ephemeralKey, key } = value
    const { config: _, ...session } = sessions.verify({ account, key, ephemeralKey, expiresAt, signature }, now)
    await sessions.keep(session)
    const { sessionId, gatewayKey } = session
    return { sessionId, accountId, macKey: deriveMacKey({ secretKey, publicKey: gatewayKey, sessionId }) }
  }

  const request = { method: 'POST', path: '/v1/infer', body: new Uint8Array([1]), idempotencyKey: 'one', voucher: '' }
  const macBy = (session: Session | null) => session && nativeMacOf(session.macKey, request)

  it('takes up what another gateway has opened, with the MAC key that the payer has, until it expires', async () => {
    const { sessionId, accountId, macKey } = await openedWith([OLD], now + 100)
    const sibling = book(OLD)
    const found = await sibling.find(sessionId)
    expect(found).toMatchObject({ sessionId, accountId })
    expect(macBy(found)).toBe(macOf(macKey, request))
    expect(await book(OLD).find(`${sessionId.slice(0, -1)}x`)).toBeNull()
    now += 100
    expect(await sibling.find(sessionId)).toBeNull()
    expect(await book(OLD).find(sessionId)).toBeNull()
  })

  it('keeps sessions over a new master key as long as the old one is there', async () => {
    const { sessionId, macKey } = await openedWith([OLD], now + 100)
    expect(macBy(await book(NEW, OLD).find(sessionId))).toBe(macOf(macKey, request))
    expect(await book(NEW).find(sessionId)).toBeNull()
  })

  it('leaves no secret in the ledger', async () => {
    const { sessionId, macKey } = await openedWith([OLD], now + 100)
    const text = JSON.stringify(stored.get(sessionId))
    expect(text).not.toContain(Buffer.from(macKey).toString('hex'))
    expect(Object.keys(stored.get(sessionId) ?? {}).sort()).toEqual(
      ['accountId', 'ephemeralKey', 'expiresAt', 'gatewayKey', 'key', 'sessionId'].sort(),
    )
  })
})
