export const BUILD_MARKER: string
export function digestOfSources(root: string): string
export function isBuilt(root: string): boolean
