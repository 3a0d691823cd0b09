import type { TaskName } from '../../../core/manifest.ts'
import type { TaskKind } from './task.ts'
import { tensorTask } from './tensor.ts'
import { textClassificationTask } from './text-classification.ts'
import { textRecognitionTask } from './text-recognition.ts'
import { voiceActivityTask } from './voice-activity.ts'

export const tasks: Record<TaskName, TaskKind> = {
  tensor: tensorTask,
  'text-classification': textClassificationTask,
  'voice-activity': voiceActivityTask,
  'text-recognition': textRecognitionTask,
}
