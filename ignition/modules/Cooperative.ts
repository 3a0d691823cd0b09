import {
  buildModule,
  type IgnitionModuleBuilder,
  type NamedArtifactContractDeploymentFuture,
} from '@nomicfoundation/ignition-core'
import { id, ZeroAddress, ZeroHash } from 'ethers'

/**
 * Every contract in the order of its dependencies. It ends with nobody but the members in charge: the governor alone
 * proposes to the timelock, anyone executes what was decided, and the deployer has renounced its role.
 */
export function cooperativeModule({ withTestDollar }: { withTestDollar: boolean }) {
  return buildModule('Cooperative', (m) => {
    const token = withTestDollar ? m.contract('TestDollar') : m.getParameter<string>('token')
    const timelock = m.contract('CooperativeTimelock', [m.getParameter('timelockSeconds'), [], [ZeroAddress], m.getAccount(0)])
    const datasets = m.contract('DatasetRegistry', [m.getParameter('epochSeconds')])
    const { parameters, membership, governor } = govern(m, timelock)

    const models = m.contract('ModelRegistry', [datasets, timelock, governor])
    const escrow = m.contract('InferenceEscrow', [token, datasets, models, parameters, m.getParameter('maxSettlementSeconds')])
    const royalties = m.contractAt('RoyaltyLedger', m.staticCall(escrow, 'ROYALTIES'))
    const providers = m.contract('ProviderRegistry', [
      token,
      models,
      m.getParameter('minStake'),
      m.getParameter('unstakeSeconds'),
    ])

    return { timelock, parameters, datasets, membership, governor, models, escrow, royalties, providers }
  })
}

function govern(m: IgnitionModuleBuilder, timelock: NamedArtifactContractDeploymentFuture<'CooperativeTimelock'>) {
  const parameters = m.contract('CooperativeParameters', [
    timelock,
    m.getParameter('protocolFeePpm'),
    timelock, // the treasury
    m.getParameter('registrar'),
    m.getParameter('purposes'),
  ])
  const membership = m.contract('Membership', [
    parameters,
    m.getParameter('genesis'),
    m.getParameter('probationSeconds'),
    m.getParameter('growthWindowSeconds'),
    m.getParameter('growthFloor'),
    m.getParameter('growthPpm'),
    m.getParameter('rotationSeconds'),
  ])
  const governor = m.contract('CooperativeGovernor', [
    membership,
    timelock,
    parameters,
    {
      votingDelaySeconds: m.getParameter('votingDelaySeconds'),
      votingPeriodSeconds: m.getParameter('votingPeriodSeconds'),
      lateQuorumSeconds: m.getParameter('lateQuorumSeconds'),
      rules: [
        { quorumPpm: m.getParameter('ordinaryQuorumPpm'), thresholdPpm: m.getParameter('ordinaryThresholdPpm') },
        { quorumPpm: m.getParameter('treasuryQuorumPpm'), thresholdPpm: m.getParameter('treasuryThresholdPpm') },
        { quorumPpm: m.getParameter('constitutionalQuorumPpm'), thresholdPpm: m.getParameter('constitutionalThresholdPpm') },
      ],
      guardian: m.getParameter('guardian', ZeroAddress),
      mandateSeconds: m.getParameter('mandateSeconds'),
    },
  ])
  const proposer = m.call(timelock, 'grantRole', [id('PROPOSER_ROLE'), governor], { id: 'GovernorProposes' })
  const canceller = m.call(timelock, 'grantRole', [id('CANCELLER_ROLE'), governor], { id: 'GovernorCancels' })
  m.call(timelock, 'renounceRole', [ZeroHash, m.getAccount(0)], { id: 'DeployerRenounces', after: [proposer, canceller] })
  return { parameters, membership, governor }
}

/** For `hardhat ignition deploy`, against a chain that has its token already. */
export default cooperativeModule({ withTestDollar: false })
