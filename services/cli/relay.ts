import { readActFile, relayActs, requireSame, sendActs } from '../sdk/index.ts'
import { argument, type Command, open, readBytes } from './invocation.ts'

/** Who pays the gas need not be the gateway that was meant to. */
export const relayCommands: Record<string, Command> = {
  relay: {
    usage: 'relay FILE (--key-file F, to pay the gas yourself; else the gateway does)',
    says: 'sends what somebody signed with --export FILE: through a gateway, or straight to the chain',
    async run(invocation) {
      const { config, flags } = invocation
      const file = readActFile(new TextDecoder().decode(readBytes(argument(invocation, 0, 'FILE'))))
      const { wallet, rpcUrl, local } = config
      const isDirect = wallet !== null && rpcUrl !== null && flags.gateway === undefined
      if (isDirect && local?.rpcUrl === rpcUrl) requireSame(file, local)
      const transactions = isDirect
        ? await sendActs(file, { rpcUrl, wallet })
        : await relayActs(file, (await open(invocation)).context)
      const by = isDirect ? `from ${wallet.address.toLowerCase()}` : 'through the gateway'
      const lines = transactions.map((transaction, index) => `${file.acts[index]?.method} ${by}: ${transaction}`)
      return { lines, value: { transactions } }
    },
  },
}
