import { formatDollars, GranaryError, isSupport, purposesMask } from '../sdk/index.ts'
import { accountCommands } from './account-commands.ts'
import { auditCommands } from './audit.ts'
import { amount, argument, type Command, list, open, readInput, whole } from './invocation.ts'
import { membershipCommands } from './membership.ts'
import { offeringCommands } from './offering.ts'
import { proposalCommands } from './proposals.ts'
import { registrationCommands } from './registration.ts'
import { relayCommands } from './relay.ts'

/** By chapter and act: each is one call of the SDK. */
export const commands: Record<string, Command> = {
  'model list': {
    usage: 'model list',
    says: 'what can be bought here',
    async run(invocation) {
      const models = (await (await open(invocation)).models()) as {
        name: string
        title: string
        unit: string
        licence: string
        offers: { unitPrice: string }[]
        servedBy: string[]
      }[]
      const lines = models.map(({ name, title, unit, licence, offers, servedBy }) => {
        const prices = offers.map(({ unitPrice }) => formatDollars(BigInt(unitPrice)))
        return `${name.padEnd(20)} ${title} (${licence}): ${prices[0] ?? 'no offer'} per ${unit}, ${servedBy.length} serving`
      })
      return { lines, value: models }
    },
  },
  infer: {
    usage: 'infer MODEL --input name=value [--purpose P] (GRANARY_API_KEY, or --key-file to pay by voucher)',
    says: 'one paid inference',
    async run(invocation) {
      const { flags, config } = invocation
      const granary = await open(invocation)
      const body = {
        model: argument(invocation, 0, 'MODEL'),
        inputs: readInput(flags.input),
        ...(flags.purpose ? { purpose: String(flags.purpose) } : {}),
      }
      const answer = config.apiKey
        ? await granary.infer(body, { apiKey: config.apiKey })
        : await (await granary.account.meter({ maxPerRequest: amount(flags['max-price'] ?? '1', '--max-price') })).infer(body)
      const outputs = answer.outputs.map(({ name, data }) => `${name}: ${JSON.stringify(data).slice(0, 200)}`)
      return { lines: [...outputs, `charged ${formatDollars(BigInt(answer.charged))} for ${answer.units} units`], value: answer }
    },
  },
  ...accountCommands,
  'consent withdraw': {
    usage: 'consent withdraw DATASET --key-file F',
    says: 'ends consent by signature, for good',
    async run(invocation) {
      const relayed = await (await open(invocation)).consent.withdraw(argument(invocation, 0, 'DATASET'))
      return { lines: [`withdrawn in block ${relayed.block}`], value: relayed }
    },
  },
  'consent narrow': {
    usage: 'consent narrow DATASET --remove purpose,purpose --key-file F',
    says: 'removes purposes; nothing can be added',
    async run(invocation) {
      const removePurposes = purposesMask(list(invocation.flags.remove))
      const relayed = await (await open(invocation)).consent.narrow(argument(invocation, 0, 'DATASET'), {
        removePurposes,
        removeJurisdictions: 0n,
        endsAt: 0,
      })
      return { lines: [`narrowed in block ${relayed.block}`], value: relayed }
    },
  },
  'earnings claim': {
    usage: 'earnings claim PAYEE --model MODEL --epochs E,E --key-file F',
    says: "pulls and claims a dataset's or model's income of closed epochs",
    async run(invocation) {
      const { flags } = invocation
      const payeeId = argument(invocation, 0, 'PAYEE')
      const epochs = list(flags.epochs).map((epoch) => whole(epoch, '--epochs'))
      const granary = await open(invocation)
      await granary.earnings.pull(String(flags.model ?? ''), payeeId, epochs)
      const { amount: claimed, relayed } = await granary.earnings.claim(payeeId, epochs)
      return {
        lines: [`claimed ${formatDollars(claimed)} in block ${relayed.block}`],
        value: { claimed: claimed.toString(), relayed },
      }
    },
  },
  'govern vote': {
    usage: 'govern vote PROPOSAL for|against|abstain --key-file F',
    says: 'votes by signature, without gas',
    async run(invocation) {
      const support = argument(invocation, 1, 'for|against|abstain')
      if (!isSupport(support)) throw new GranaryError('request.malformed', 'A vote is for, against or abstain.')
      const proposal = whole(argument(invocation, 0, 'PROPOSAL'), 'PROPOSAL')
      const relayed = await (await open(invocation)).govern.vote(proposal, support)
      return { lines: [`voted in block ${relayed.block}`], value: relayed }
    },
  },
  ...auditCommands,
  ...membershipCommands,
  ...registrationCommands,
  ...offeringCommands,
  ...proposalCommands,
  ...relayCommands,
}
