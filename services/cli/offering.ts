import { formatDollars, GranaryError, unitNames } from '../sdk/index.ts'
import { amount, argument, type Command, flag, open } from './invocation.ts'

/** Chapter 4, the provider's side: keys, stake and offers. */
export const offeringCommands: Record<string, Command> = {
  'provide register': {
    usage: 'provide register --session-key ADDRESS --encryption-key 0x… --name N [--stake DOLLARS] --key-file F',
    says: 'registers the operator, or changes its keys, and stakes',
    async run(invocation) {
      const stake = amount(invocation.flags.stake ?? '0', '--stake')
      const keys = { sessionKey: flag(invocation, 'session-key'), encryptionKey: flag(invocation, 'encryption-key') }
      const { provide } = await open(invocation)
      const transaction = await provide.register({ ...keys, name: flag(invocation, 'name'), stake })
      return { lines: [`registered with a further stake of ${formatDollars(stake)}`], value: { transaction } }
    },
  },
  'provide offer': {
    usage: 'provide offer MODEL --unit U --price DOLLARS --key-file F',
    says: 'offers a model, by its id, at a price per unit',
    async run(invocation) {
      const names: readonly string[] = unitNames
      const unit = names.indexOf(flag(invocation, 'unit'))
      if (unit < 0) throw new GranaryError('request.malformed', `--unit is one of ${names.join(', ')}.`)
      const offer = { modelId: argument(invocation, 0, 'MODEL'), unit, unitPrice: amount(invocation.flags.price, '--price') }
      const transaction = await (await open(invocation)).provide.offer(offer)
      return { lines: [`offered at ${formatDollars(offer.unitPrice)} per ${names[unit]}`], value: { transaction } }
    },
  },
  'provide end-offer': {
    usage: 'provide end-offer MODEL --key-file F',
    says: 'takes an offer back',
    async run(invocation) {
      const relayed = await (await open(invocation)).provide.endOffer(argument(invocation, 0, 'MODEL'))
      return { lines: [`ended in block ${relayed.block}`], value: relayed }
    },
  },
  'provide start-unstaking': {
    usage: 'provide start-unstaking DOLLARS --key-file F',
    says: 'starts the delay after which a part of the stake can be taken out',
    async run(invocation) {
      const dollars = amount(argument(invocation, 0, 'DOLLARS'), 'DOLLARS')
      const relayed = await (await open(invocation)).provide.startUnstaking(dollars)
      return { lines: [`started in block ${relayed.block}`], value: relayed }
    },
  },
  'provide unstake': {
    usage: 'provide unstake ADDRESS --key-file F',
    says: 'takes out, to any address, what has waited long enough',
    async run(invocation) {
      const relayed = await (await open(invocation)).provide.unstake(argument(invocation, 0, 'ADDRESS'))
      return { lines: [`paid out in block ${relayed.block}`], value: relayed }
    },
  },
}
