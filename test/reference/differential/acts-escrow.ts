import {
  type AccountConfig,
  type Authorization,
  cancelThaw,
  claimCredit,
  deposit,
  depositWithAuthorization,
  type Grant,
  grantKey,
  revokeKey,
  setCollectorFee,
  setProtocolFee,
  setTreasury,
  startThaw,
  withdrawDeposit,
} from '../model/accounts.ts'
import type { Prepared } from './acts.ts'
import { authorityOf, hashOf, type Signature, type World } from './world.ts'

export type EscrowAct =
  | { kind: 'deposit'; account: AccountConfig; amount: bigint }
  | { kind: 'deposit-signed'; account: AccountConfig; authorization: Authorization; signature: Signature }
  | { kind: 'grant-key'; account: AccountConfig; grant: Grant; signature: Signature | null }
  | { kind: 'revoke-key'; account: AccountConfig; key: string; signature: Signature | null }
  | { kind: 'start-thaw'; account: AccountConfig; amount: bigint; nonce: number; signature: Signature | null }
  | { kind: 'cancel-thaw'; account: AccountConfig }
  | { kind: 'withdraw-deposit'; account: AccountConfig; to: string }
  | { kind: 'set-collector-fee'; ppm: number }
  | { kind: 'set-protocol-fee'; ppm: number }
  | { kind: 'set-treasury'; treasury: string }
  | { kind: 'claim-credit'; owner: string; to: string }

type Of<K extends EscrowAct['kind']> = Extract<EscrowAct, { kind: K }> & { from: string }

const contract = 'InferenceEscrow'

export function prepareEscrow(world: World, act: EscrowAct & { from: string }): Prepared {
  const by = { by: act.from }
  switch (act.kind) {
    case 'deposit':
      return {
        transaction: { contract, method: 'deposit', args: [act.account, act.amount] },
        perform: (coop) => ({ refusals: deposit(coop, world.named(act.account), act.amount, by) }),
      }
    case 'deposit-signed':
      return prepareAuthorization(world, act)
    case 'grant-key':
      return prepareGrant(world, act)
    case 'revoke-key':
      return prepareRevocation(world, act)
    case 'start-thaw':
      return prepareThaw(world, act)
    case 'cancel-thaw':
      return {
        transaction: { contract, method: 'cancelThaw', args: [act.account] },
        perform: (coop) => ({ refusals: cancelThaw(coop, world.named(act.account), by) }),
      }
    case 'withdraw-deposit':
      return {
        transaction: { contract, method: 'withdraw', args: [act.account, act.to] },
        perform: (coop) => ({ refusals: withdrawDeposit(coop, world.named(act.account), act.to, by) }),
      }
    case 'claim-credit':
      return prepareCredit(act)
    default:
      return prepareSetting(act)
  }
}

function prepareSetting(act: Of<'set-collector-fee' | 'set-protocol-fee' | 'set-treasury'>): Prepared {
  const by = { by: act.from }
  const parameters = 'CooperativeParameters'
  switch (act.kind) {
    case 'set-collector-fee':
      return {
        transaction: { contract, method: 'setCollectorFee', args: [act.ppm] },
        perform: (coop) => ({ refusals: setCollectorFee(coop, act.ppm, by) }),
      }
    case 'set-protocol-fee':
      return {
        transaction: { contract: parameters, method: 'setProtocolFee', args: [act.ppm] },
        perform: (coop) => ({ refusals: setProtocolFee(coop, act.ppm, by) }),
      }
    case 'set-treasury':
      return {
        transaction: { contract: parameters, method: 'setTreasury', args: [act.treasury] },
        perform: (coop) => ({ refusals: setTreasury(coop, act.treasury, by) }),
      }
  }
}

function prepareAuthorization(world: World, { account, authorization, signature, from }: Of<'deposit-signed'>): Prepared {
  const { amount, validAfter, validBefore, salt } = authorization
  const named = world.named(account)
  const digest = world.digest('Token', 'ReceiveWithAuthorization', {
    ...{ from: account.payer, to: world.chain.addresses.InferenceEscrow, value: amount, validAfter, validBefore },
    nonce: hashOf(['bytes32', 'bytes32'], [named.id, salt]),
  })
  const args = [account, amount, validAfter, validBefore, salt, world.sign(signature.by, digest, signature.spoiled)]
  return {
    transaction: { contract, method: 'depositWithAuthorization', args },
    perform: (coop) => ({
      refusals: depositWithAuthorization(coop, named, authorization, authorityOf(from, signature)),
    }),
  }
}

function prepareGrant(world: World, { account, grant, signature, from }: Of<'grant-key'>): Prepared {
  const named = world.named(account)
  const { key, cap, notAfter, nonce } = grant
  const digest = () => world.digest(contract, 'GrantKey', { accountId: named.id, ...grant })
  const args = signature === null ? [] : [world.sign(signature.by, digest(), signature.spoiled)]
  return {
    transaction: {
      contract,
      method: signature === null ? 'grantKey' : 'grantKeyBySig',
      args: [account, key, cap, notAfter, nonce, ...args],
    },
    perform: (coop) => ({ refusals: grantKey(coop, named, grant, authorityOf(from, signature)) }),
  }
}

function prepareRevocation(world: World, { account, key, signature, from }: Of<'revoke-key'>): Prepared {
  const named = world.named(account)
  const digest = () => world.digest(contract, 'RevokeKey', { accountId: named.id, key })
  const args = signature === null ? [] : [world.sign(signature.by, digest(), signature.spoiled)]
  return {
    transaction: { contract, method: signature === null ? 'revokeKey' : 'revokeKeyBySig', args: [account, key, ...args] },
    perform: (coop) => ({ refusals: revokeKey(coop, named, key, authorityOf(from, signature)) }),
  }
}

function prepareThaw(world: World, { account, amount, nonce, signature, from }: Of<'start-thaw'>): Prepared {
  const named = world.named(account)
  const deadline = signature?.deadline ?? 0
  const digest = () => world.digest(contract, 'StartThaw', { accountId: named.id, amount, nonce, deadline })
  const args = signature === null ? [] : [nonce, deadline, world.sign(signature.by, digest(), signature.spoiled)]
  return {
    transaction: { contract, method: signature === null ? 'startThaw' : 'startThawBySig', args: [account, amount, ...args] },
    perform: (coop) => ({
      refusals: startThaw(coop, named, { amount, nonce: signature === null ? null : nonce }, authorityOf(from, signature)),
    }),
  }
}

/** To whom its owner says, or to the owner where somebody else asks. */
function prepareCredit({ owner, to, from }: Of<'claim-credit'>): Prepared {
  const own = from === owner
  return {
    transaction: { contract, method: own ? 'claimCredit' : 'claimCreditFor', args: [own ? to : owner] },
    perform: (coop) => ({ refusals: claimCredit(coop, { owner, to: own ? to : owner }) }),
  }
}
