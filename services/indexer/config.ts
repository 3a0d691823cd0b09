import { type Deployment, deploymentFile, type Environment, integer, optionalText, text } from '../adapters/settings.ts'

export interface IndexerConfig {
  rpcUrl: string
  deployment: Deployment
  databaseUrl: string
  /** Kubo's RPC; null for the embedded node in contentDir. */
  ipfsRpcUrl: string | null
  contentDir: string
  contentListen: string[]
  /** Multiaddrs of nodes that have manifests. */
  contentPeers: string[]
  /** A gateway that tells where its own node is; null where peers are listed. */
  gatewayUrl: string | null
  pollMs: number
  fetchTimeoutMs: number
}

export function readConfig(env: Environment = process.env): IndexerConfig {
  const ipfsRpcUrl = optionalText(env, 'IPFS_RPC_URL')
  return {
    rpcUrl: text(env, 'GRANARY_RPC_URL'),
    deployment: deploymentFile(env),
    databaseUrl: text(env, 'DATABASE_URL'),
    ipfsRpcUrl,
    contentDir: ipfsRpcUrl === null ? text(env, 'GRANARY_CONTENT_DIR') : '',
    contentListen: [text(env, 'GRANARY_CONTENT_LISTEN', '/ip4/127.0.0.1/tcp/0')],
    contentPeers: (optionalText(env, 'GRANARY_CONTENT_PEERS') ?? '').split(',').filter((address) => address !== ''),
    gatewayUrl: optionalText(env, 'GRANARY_GATEWAY_URL'),
    pollMs: integer(env, 'GRANARY_INDEXER_POLL_MS', { fallback: 250, least: 20, most: 60_000 }),
    fetchTimeoutMs: integer(env, 'GRANARY_MANIFEST_TIMEOUT_MS', { fallback: 10_000, least: 100, most: 300_000 }),
  }
}
