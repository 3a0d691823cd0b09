import { keccak256, solidityPacked } from 'ethers'
import { claim, pull } from '../model/royalties.ts'
import type { Prepared } from './acts.ts'
import { authorityOf, type Signature, type World } from './world.ts'

export type RoyaltyAct =
  | { kind: 'pull'; modelId: string; index: number; epochs: number[] }
  | {
      kind: 'claim'
      payeeId: string
      account: string
      epochs: number[]
      to: string
      share: ClaimedShare | null
      relay: Relay | null
    }

/** What is said to be held in a pool's table, with the root of the table that the path leads to; null for a path to nowhere. */
export interface ClaimedShare {
  /** Whose line the path is of. */
  of: string
  shares: bigint
  path: string[]
  provenIn: string | null
}

export interface Relay {
  signature: Signature
  relayerFee: bigint
  maxRelayerFee: bigint
  nonce: number
}

const contract = 'RoyaltyLedger'

export function prepareRoyalty(world: World, act: RoyaltyAct & { from: string }): Prepared {
  if (act.kind === 'claim') return prepareClaim(world, act)
  const { modelId, index, epochs } = act
  return {
    transaction: { contract, method: 'pull', args: [modelId, index, epochs] },
    perform: (coop) => ({ refusals: pull(coop, { modelId, index, epochs }) }),
  }
}

function prepareClaim(world: World, act: Extract<RoyaltyAct, { kind: 'claim' }> & { from: string }): Prepared {
  const { payeeId, account, epochs, to, share, relay, from } = act
  const claimed = { payeeId, account, epochs, shares: share?.shares ?? 0n, proof: share?.path ?? [] }
  const digest = relay === null ? '' : claimDigest(world, { ...act, relay })
  return {
    transaction: {
      contract,
      method: relay === null ? 'claim' : 'claimBySig',
      args: relay === null ? [claimed, to] : [claimed, to, ...relayArgs(world, relay, digest)],
    },
    perform: (coop) => ({
      refusals: claim(
        coop,
        {
          ...{ payeeId, account, epochs },
          share: share === null ? null : lineOf(share, account),
        },
        {
          to,
          authority: authorityOf(from, relay?.signature ?? null),
          signed: relay === null ? null : { digest, relayer: from, ...relay },
        },
      ),
    }),
  }
}

/** A path proves the line of one account only. */
function lineOf({ of, shares, provenIn }: ClaimedShare, account: string) {
  return { line: { account, shares }, provenIn: of === account ? provenIn : null }
}

function claimDigest(
  world: World,
  { payeeId, account, epochs, to, relay }: Extract<RoyaltyAct, { kind: 'claim' }> & { relay: Relay },
): string {
  const epochsHash = keccak256(
    solidityPacked(
      epochs.map(() => 'uint256'),
      epochs,
    ),
  )
  const { maxRelayerFee, nonce, signature } = relay
  const deadline = signature.deadline ?? 0
  return world.digest(contract, 'ClaimRoyalty', { payeeId, account, to, epochsHash, maxRelayerFee, nonce, deadline })
}

function relayArgs(world: World, { relayerFee, maxRelayerFee, nonce, signature }: Relay, digest: string): unknown[] {
  const deadline = signature.deadline ?? 0
  return [relayerFee, maxRelayerFee, nonce, deadline, world.sign(signature.by, digest, signature.spoiled)]
}
