import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { MemoryBlockstore } from 'blockstore-core'
import { importFile } from 'ipfs-unixfs-importer'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced } from 'ipfs-unixfs-importer/layout'
import { CID } from 'multiformats/cid'

const PEER = '12D3KooWGzxzKZYveHXtpG6AsrUJBcWxHBFS2HsEoGTxrMLvKXtf'

export interface KuboRpcServer extends AsyncDisposable {
  url: string
  connected: string[]
  corrupt(cid: string): Promise<void>
}

/** The part of Kubo's RPC API that the adapter uses, with the settings as the request gives them; written for tests, no Kubo. */
export async function startKuboRpcServer(): Promise<KuboRpcServer> {
  const blocks = new MemoryBlockstore()
  const connected: string[] = []
  const server = createServer((request, response) => {
    answer({ request, response, blocks, connected }).catch((error) => {
      response.writeHead(500, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ Message: String(error), Code: 0, Type: 'error' }))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    connected,
    corrupt: async (cid) => {
      blocks.put(CID.parse(cid), new TextEncoder().encode('something else'))
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

async function answer(exchange: {
  request: IncomingMessage
  response: ServerResponse
  blocks: MemoryBlockstore
  connected: string[]
}): Promise<void> {
  const { request, response, blocks, connected } = exchange
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost')
  const json = (value: unknown) => {
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify(value))
  }
  const argument = searchParams.get('arg') ?? ''
  switch (pathname) {
    case '/api/v0/id':
      return json({
        ID: PEER,
        PublicKey: '',
        Addresses: [`/ip4/127.0.0.1/tcp/4001/p2p/${PEER}`],
        AgentVersion: 'test',
        Protocols: [],
      })
    case '/api/v0/add': {
      const bytes = filePart(await bodyOf(request), request.headers['content-type'] ?? '')
      const { cid } = await importFile({ content: bytes }, blocks, settingsOf(searchParams))
      return json({ Name: cid.toString(), Hash: cid.toString(), Size: String(bytes.length) })
    }
    case '/api/v0/block/get': {
      const cid = CID.parse(argument)
      // Like Kubo, waits for somebody to have it.
      if (!blocks.has(cid)) return
      response.writeHead(200, { 'content-type': 'application/octet-stream' })
      for await (const part of blocks.get(cid)) response.write(part)
      response.end()
      return
    }
    case '/api/v0/swarm/connect':
      connected.push(argument)
      return json({ Strings: [`connect ${argument} success`] })
  }
  throw new Error(`no such command: ${pathname}`)
}

function settingsOf(query: URLSearchParams) {
  const chunkSize = Number(/^size-(\d+)$/.exec(query.get('chunker') ?? 'size-262144')?.[1])
  const links = Number(query.get('max-file-links') ?? 174)
  return {
    cidVersion: query.get('cid-version') === '1' ? (1 as const) : (0 as const),
    rawLeaves: query.get('raw-leaves') === 'true',
    chunker: fixedSize({ chunkSize }),
    layout: balanced({ maxChildrenPerNode: links }),
  }
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = []
  for await (const part of request) parts.push(part)
  return Buffer.concat(parts)
}

function filePart(body: Buffer, contentType: string): Uint8Array {
  const boundary = /boundary="?([^";]+)/.exec(contentType)?.[1]
  if (!boundary) throw new Error('no boundary')
  const start = body.indexOf('\r\n\r\n') + 4
  const end = body.lastIndexOf(`\r\n--${boundary}--`)
  return body.subarray(start, end)
}
