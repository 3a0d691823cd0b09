import { join, resolve } from 'node:path'
import type { LocalKeys } from './keys.ts'
import type { Ports } from './ports.ts'

const root = resolve(import.meta.dirname, '..', '..')

export interface ServicePlan {
  name: string
  module: string
  env: Record<string, string>
}

/** The cooperative's own processes and their settings; the same names serve docker-compose.yml. */
export function planServices(options: {
  dir: string
  ports: Ports
  keys: LocalKeys
  rpcUrl: string
  databaseUrl: string
  deployment: string
  /** A Kubo node for all; null for a node inside each process. */
  ipfsRpcUrl: string | null
}): Record<'gateway' | 'indexer' | 'settler' | 'provider', ServicePlan> {
  const { dir, ports, keys, rpcUrl, databaseUrl, deployment, ipfsRpcUrl } = options
  const gatewayUrl = gatewayUrlOf(ports)
  const chain = { GRANARY_RPC_URL: rpcUrl, GRANARY_DEPLOYMENT: deployment }
  const content = (name: string, port = 0): Record<string, string> => {
    if (ipfsRpcUrl !== null) return { IPFS_RPC_URL: ipfsRpcUrl }
    return { GRANARY_CONTENT_DIR: join(dir, 'content', name), GRANARY_CONTENT_LISTEN: `/ip4/127.0.0.1/tcp/${port}` }
  }
  return {
    gateway: plan('gateway', {
      ...chain,
      ...content('gateway', ports.content),
      DATABASE_URL: databaseUrl,
      HOST: '127.0.0.1',
      PORT: String(ports.gateway),
      GRANARY_KEY_FILE: keys.collector.path,
      GRANARY_RELAYER_KEY_FILE: keys.relayer.path,
      GRANARY_REGISTRAR_KEY_FILE: keys.registrar.path,
      GRANARY_MASTER_KEY_FILE: keys.master.path,
    }),
    indexer: plan('indexer', { ...chain, ...content('indexer'), DATABASE_URL: databaseUrl, GRANARY_GATEWAY_URL: gatewayUrl }),
    settler: plan('settler', { ...chain, DATABASE_URL: databaseUrl, GRANARY_KEY_FILE: keys.collector.path }),
    provider: plan('provider', {
      ...chain,
      ...content('provider'),
      GRANARY_KEY_FILE: keys.session.path,
      GRANARY_GATEWAY_URL: gatewayUrl,
    }),
  }
}

export function gatewayUrlOf(ports: Ports): string {
  return `http://127.0.0.1:${ports.gateway}`
}

function plan(name: string, env: Record<string, string>): ServicePlan {
  return { name, module: join(root, 'services', name, 'main.ts'), env }
}
