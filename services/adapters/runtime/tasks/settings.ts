import { GranaryError } from '../../../core/errors.ts'
import type { ModelManifest } from '../../../core/manifest.ts'
import type { Tensor } from '../../../core/tensors.ts'
import type { Session } from './task.ts'

/** Reads what a manifest says to its task; every refusal names the setting. */
export function numberSetting(manifest: ModelManifest, name: string, range: { least: number; most: number }): number {
  const value = manifest.settings[name]
  if (typeof value !== 'number' || !(value >= range.least && value <= range.most)) {
    throw malformed(manifest, `settings.${name} must be a number from ${range.least} to ${range.most}`)
  }
  return value
}

export function textsSetting(manifest: ModelManifest, name: string): string[] {
  const value = manifest.settings[name]
  if (!Array.isArray(value) || !value.every((item) => typeof item === 'string')) {
    throw malformed(manifest, `settings.${name} must be a list of texts`)
  }
  return value
}

export function textSetting(manifest: ModelManifest, name: string): string {
  const value = manifest.settings[name]
  if (typeof value !== 'string') throw malformed(manifest, `settings.${name} must be a text`)
  return value
}

/** The caller's tensors must be exactly the ones that the task knows. */
export function requireTensors(
  manifest: ModelManifest,
  expected: { inputs: readonly string[]; outputs: readonly string[] },
): void {
  for (const side of ['inputs', 'outputs'] as const) {
    const names = manifest[side].map(({ name }) => name)
    if (names.join() !== expected[side].join()) {
      throw malformed(manifest, `task ${manifest.task} has the ${side} ${expected[side].join(', ')}, not ${names.join(', ')}`)
    }
  }
}

export function requireSession(manifest: ModelManifest, session: Session, expected: { inputs: readonly string[] }): void {
  const names = session.inputs.map(({ name }) => name)
  if (names.join() !== expected.inputs.join()) {
    throw malformed(manifest, `its ONNX file must take ${expected.inputs.join(', ')}, not ${names.join(', ')}`)
  }
}

/** Callers may send tensors in any order. */
export function tensorNamed(tensors: readonly Tensor[], name: string): Tensor {
  const tensor = tensors.find((candidate) => candidate.name === name)
  if (!tensor) throw new GranaryError('input.invalid', `Input ${name} is missing.`, { tensor: name })
  return tensor
}

export function malformed(manifest: ModelManifest, why: string): GranaryError {
  return new GranaryError('request.malformed', `The manifest of ${manifest.name} does not fit its task: ${why}.`)
}
