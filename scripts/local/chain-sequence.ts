import { gunzipSync } from 'node:zlib'
import type { Log } from '../../services/adapters/log.ts'
import { type Engine, EngineRefusal } from './anvil.ts'
import type { ChainFiles, LogRecord } from './chain-log.ts'

/** A quarter of an hour: what a start after a kill replays at most, within two seconds. */
const SNAPSHOT_BLOCKS = 900
const SNAPSHOT_TRANSACTIONS = 2000
const QUEUE_LIMIT = 5000
const SENDS_PER_TURN = 200
const BLOCKS_PER_LOOK = 500

interface Tip {
  number: number
  hash: string
  timestamp: number
}

interface Sending {
  raw: string
  resolve: (hash: string) => void
  reject: (error: unknown) => void
}

/** Everything that changes the chain, one after the other, in the order in which the log has it: so a replay is exact. */
export class ChainSequence {
  readonly #engine: Engine
  readonly #files: ChainFiles
  readonly #log: Log
  #tip: Tip = { number: -1, hash: '', timestamp: 0 }
  #turn: Promise<unknown> = Promise.resolve()
  #blocksSince = 0
  #transactionsSince = 0
  /** What the last snapshot took. */
  #snapshotMs = 0
  #queue: Sending[] = []
  /** In the pool and in no block yet, in order of arrival. */
  readonly #waiting = new Map<string, string>()

  private constructor(options: { engine: Engine; files: ChainFiles; log: Log }) {
    this.#engine = options.engine
    this.#files = options.files
    this.#log = options.log
  }

  /** Throws when the log does not continue the engine's state. */
  static async restore(options: { engine: Engine; files: ChainFiles; log: Log }): Promise<ChainSequence> {
    const sequence = new ChainSequence(options)
    if (!options.engine.durable) await options.engine.call('evm_setAutomine', [false])
    await sequence.#refreshTip()
    await sequence.#replay(options.files.records)
    return sequence
  }

  get tip(): Readonly<Tip> {
    return this.#tip
  }

  /** The transaction's hash, once the pool has it and the disk too. */
  submit(raw: string): Promise<string> {
    if (this.#queue.length >= QUEUE_LIMIT) return Promise.reject(new Error('Too many transactions at once: try again.'))
    return new Promise((resolve, reject) => {
      this.#queue.push({ raw, resolve, reject })
      if (this.#queue.length === 1) void this.#exclusively(() => this.#admit())
    })
  }

  mine(timestamp: number): Promise<void> {
    return this.#exclusively(async () => {
      this.#append([{ block: this.#tip.number + 1, timestamp, parent: this.#tip.hash }])
      await this.#mineAt(timestamp)
      this.#blocksSince++
      const full = this.#blocksSince >= SNAPSHOT_BLOCKS || this.#transactionsSince >= SNAPSHOT_TRANSACTIONS
      // The chain stands still meanwhile: for at most a thousandth of the time, however big it has grown.
      if (full && this.#blocksSince >= this.#snapshotMs) await this.#writeSnapshot()
    })
  }

  snapshot(): Promise<void> {
    return this.#exclusively(() => this.#writeSnapshot())
  }

  #exclusively<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work)
    this.#turn = result.catch(() => undefined)
    return result
  }

  #append(records: LogRecord[]): void {
    if (this.#engine.durable) this.#files.append(records)
  }

  /** One turn's transactions share one write to disk; later ones wait for the next turn, so that a block comes between. */
  async #admit(): Promise<void> {
    const batch = this.#queue.slice(0, SENDS_PER_TURN)
    const outcomes: (string | Error)[] = []
    for (const { raw } of batch) outcomes.push(await this.#send(raw))
    try {
      const accepted = batch.filter((_, index) => typeof outcomes[index] === 'string')
      if (accepted.length > 0) this.#append(accepted.map(({ raw }) => ({ tx: raw })))
      this.#transactionsSince += accepted.length
      for (const [index, { resolve, reject }] of batch.entries()) {
        const outcome = outcomes[index]
        if (typeof outcome === 'string') resolve(outcome)
        else reject(outcome)
      }
    } catch (error) {
      this.#log.error({ event: 'chain.log-failed', error })
      for (const { reject } of batch) reject(error)
    }
    this.#queue = this.#queue.slice(batch.length)
    if (this.#queue.length > 0) void this.#exclusively(() => this.#admit())
  }

  async #send(raw: string): Promise<string | Error> {
    try {
      const hash = String(await this.#engine.call('eth_sendRawTransaction', [raw]))
      this.#waiting.set(hash, raw)
      return hash
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error))
    }
  }

  async #mineAt(timestamp: number): Promise<void> {
    await this.#engine.call('evm_mine', [timestamp])
    await this.#refreshTip()
  }

  async #refreshTip(): Promise<void> {
    const block = (await this.#engine.call('eth_getBlockByNumber', ['latest', false])) as Record<string, unknown>
    for (const hash of block.transactions as string[]) this.#waiting.delete(hash)
    this.#tip = { number: Number(block.number), hash: String(block.hash), timestamp: Number(block.timestamp) }
  }

  async #writeSnapshot(): Promise<void> {
    if (!this.#engine.durable || this.#blocksSince + this.#transactionsSince === 0) return
    const started = performance.now()
    const hex = String(await this.#engine.call('anvil_dumpState'))
    const carried: LogRecord[] = []
    for (const [hash, raw] of this.#waiting) {
      const found = (await this.#engine.call('eth_getTransactionByHash', [hash])) as { blockHash: string | null } | null
      if (found !== null && found.blockHash === null) carried.push({ tx: raw })
      else this.#waiting.delete(hash)
    }
    this.#files.replaceSnapshot(gunzipSync(Buffer.from(hex.slice(2), 'hex')), { head: this.#tip.number, carried })
    this.#snapshotMs = performance.now() - started
    this.#blocksSince = 0
    this.#transactionsSince = 0
  }

  async #replay(records: readonly LogRecord[]): Promise<void> {
    let diverged = false
    for (let index = 0; index < records.length; ) {
      const record = records[index]
      if (record === undefined) break
      if ('tx' in record) {
        // One that no longer fits (its sender replaced it, say) did nothing the first time either.
        const outcome = await this.#send(record.tx)
        if (outcome instanceof Error && !(outcome instanceof EngineRefusal)) throw outcome
        index++
        continue
      }
      if (record.block !== this.#tip.number + 1) throw new Error(`block ${record.block} follows block ${this.#tip.number}`)
      if (record.parent !== this.#tip.hash && !diverged) {
        diverged = true
        this.#log.error({ event: 'chain.diverged', block: this.#tip.number, logged: record.parent, replayed: this.#tip.hash })
      }
      index += await this.#replayRun(records, index)
    }
    this.#blocksSince = records.filter((record) => 'block' in record).length
    this.#transactionsSince = records.length - this.#blocksSince
  }

  /** A run of blocks needs only one look at the tip. Returns how many records that was. */
  async #replayRun(records: readonly LogRecord[], first: number): Promise<number> {
    let count = 0
    for (; first + count < records.length; count++) {
      const record = records[first + count]
      if (record === undefined || 'tx' in record || count === BLOCKS_PER_LOOK) break
      await this.#engine.call('evm_mine', [record.timestamp])
    }
    await this.#refreshTip()
    return count
  }
}
