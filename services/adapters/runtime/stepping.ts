import { malformed } from './tasks/settings.ts'
import type { StepTask, Task, TaskContext, TaskKind } from './tasks/task.ts'

/** How a model that says that it yields in steps does so; null for the others. Throws `request.malformed` for those that can't. */
export function openStepTask(options: { context: TaskContext; kind: TaskKind; task: Task; batchable: boolean }): StepTask | null {
  const { context, kind, task, batchable } = options
  const { manifest } = context
  if (!manifest.steps) return null
  if (kind.openSteps) return kind.openSteps(context, manifest.steps.size)
  // Joined steps are the answer to the whole only where rows do not influence each other.
  if (!batchable) throw malformed(manifest, `task ${manifest.task} can't answer these inputs in steps`)
  return async ({ inputs }) => ({ outputs: await task(inputs), carried: [] })
}
