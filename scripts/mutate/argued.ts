/**
 * Mutants that no test can kill, by id, and why: they do what the code does in every reachable state, or differ only in gas.
 * An entry whose mutant is gone is an error, and so is one whose mutant a test kills.
 */
export const ARGUED: Readonly<Record<string, string>> = {}
