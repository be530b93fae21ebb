/** Validation of paths: where files of a volume go, below which they must stay. */
import type { Findings } from './field.ts'

const FILE_MODE_TEXT = 'must be a number between 0 and 0777 (octal), both inclusive'

/** No element is `..`. */
export function noBacksteps(e: Findings, path: string, file: string): void {
  if (file.split('/').includes('..')) e.invalid(path, file, "must not contain '..'")
}

/** Relative, and below where it starts. */
export function descendingPath(e: Findings, path: string, file: string): void {
  if (file.startsWith('/')) e.invalid(path, file, 'must be a relative path')
  noBacksteps(e, path, file)
}

/** A file of a volume: relative, below it, not among the names that kubelets use themselves. */
export function volumeFile(e: Findings, path: string, file: string): void {
  descendingPath(e, path, file)
  if (file.startsWith('..') && !file.startsWith('../')) e.invalid(path, file, "must not start with '..'")
}

/** Permission bits. */
export function fileMode(e: Findings, path: string, mode: number | undefined): void {
  if (mode !== undefined && (mode < 0 || mode > 0o777)) e.invalid(path, mode, FILE_MODE_TEXT)
}
