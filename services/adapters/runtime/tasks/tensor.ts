import { malformed } from './settings.ts'
import type { SessionTensor, TaskKind } from './task.ts'

/** Nothing before, nothing after: the caller's tensors are the session's. */
export const tensorTask: TaskKind = {
  stacks: true,
  open({ manifest, session }) {
    for (const [specs, declared] of [
      [manifest.inputs, session.inputs],
      [manifest.outputs, session.outputs],
    ] as const) {
      for (const spec of specs) {
        const match = declared.find(({ name }) => name === spec.name)
        if (!match || !fits(spec, match))
          throw malformed(manifest, `its ONNX file declares no ${spec.datatype} ${spec.name} like that`)
      }
    }
    if (session.inputs.length !== manifest.inputs.length) throw malformed(manifest, 'it leaves out inputs of its ONNX file')
    const wanted = manifest.outputs.map(({ name }) => name)
    return async (inputs) => {
      const outputs = await session.run(inputs)
      return wanted.flatMap((name) => outputs.filter((output) => output.name === name))
    }
  },
}

/** A manifest may fix what the file leaves free, not the other way round. */
function fits(spec: SessionTensor, declared: SessionTensor): boolean {
  return (
    spec.datatype === declared.datatype &&
    spec.shape.length === declared.shape.length &&
    declared.shape.every((size, index) => size === -1 || size === spec.shape[index])
  )
}
