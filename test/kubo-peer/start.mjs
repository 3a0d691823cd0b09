import { create } from 'ipfs-core'
import { HttpApi } from 'ipfs-http-server'

/** js-ipfs behind its HTTP RPC server, in the folder given, on a free loopback port: tells its URL, ends with its parent. */
const repo = process.argv[2]
const ipfs = await create({
  repo,
  silent: true,
  offline: true,
  init: { emptyRepo: true, profiles: ['test'] },
  config: { Addresses: { Swarm: [], API: '/ip4/127.0.0.1/tcp/0', Gateway: '/ip4/127.0.0.1/tcp/0' }, Bootstrap: [] },
})
const api = new HttpApi(ipfs)
await api.start()
process.send?.({ url: api.apiServers?.[0]?.info?.uri ?? api._apiServers?.[0]?.info?.uri })
process.on('disconnect', () => process.exit(0))
