import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex, hexToBytes, utf8ToBytes } from '@noble/hashes/utils.js'
import { keccak256 } from 'ethers'
import { GranaryError } from './errors.ts'
import { joinBytes, type Tensor } from './tensors.ts'

interface Running {
  datatype: Tensor['datatype']
  rows: number
  /** The shape without its first dimension. */
  row: string
  digest: ReturnType<typeof sha256.create>
}

/**
 * The commitment to everything that a stream has given so far: what `commitTensors` gives for each output's steps joined along
 * the first dimension, at the cost of the newest step alone.
 */
export interface RunningCommitment {
  /** Throws `provider.failed` when a step has other outputs than the ones before it. */
  add(outputs: readonly Tensor[]): void
  value(salt: string): string
}

export function openCommitment(): RunningCommitment {
  const running = new Map<string, Running>()
  let steps = 0
  return {
    add(outputs) {
      if (steps > 0 && outputs.length !== running.size) throw unlike()
      for (const { name, datatype, shape, data } of outputs) {
        const [rows, ...row] = shape
        if (rows === undefined) throw unlike()
        const known = running.get(name)
        if (known && (known.datatype !== datatype || known.row !== row.join(','))) throw unlike()
        if (!known && steps > 0) throw unlike()
        const tensor = known ?? { datatype, rows: 0, row: row.join(','), digest: sha256.create() }
        tensor.rows += rows
        tensor.digest.update(data)
        running.set(name, tensor)
      }
      steps += 1
    },
    value(salt) {
      const parts = [...running]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .flatMap(([name, { datatype, rows, row, digest }]) => [
          sha256(utf8ToBytes(name)),
          sha256(utf8ToBytes(datatype)),
          sha256(utf8ToBytes(row === '' ? `${rows}` : `${rows},${row}`)),
          digest.clone().digest(),
        ])
      return keccak256(`0x${bytesToHex(joinBytes([hexToBytes(salt.slice(2)), ...parts]))}`)
    },
  }
}

function unlike(): GranaryError {
  return new GranaryError('provider.failed', 'A step has other outputs than the steps before it.')
}
