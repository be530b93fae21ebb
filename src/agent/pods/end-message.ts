/** The final words of a container: its termination-message file, or the end of its log when it failed and left none. */
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import type { Container } from '../../cri/mod.ts'
import { terminationFile } from './config.ts'
import { ANNOTATION_TERMINATION_POLICY } from './names.ts'
import { parseLine } from '../streams/cri-log.ts'

/** Kubernetes' limits, bytes and lines. */
const FILE_MAX = 4096
const LOG_MAX = 2048
const LOG_LINES = 80

/** @param logDir the pod's log directory */
export async function endMessage(container: Container, podDir: string, logDir: string): Promise<string> {
  const words = await tail(terminationFile(podDir, container.name, container.attempt), FILE_MAX, 'head')
  if (words !== '' || container.exitCode === 0 || container.annotations[ANNOTATION_TERMINATION_POLICY] !== 'FallbackToLogsOnError') return words
  const log = await tail(join(logDir, container.name, `${container.attempt}.log`), LOG_MAX * 4, 'tail')
  const lines = log.split('\n').flatMap((l) => parseLine(Buffer.from(l))?.content.toString('utf8') ?? [])
  return lines.slice(-LOG_LINES).join('').slice(-LOG_MAX)
}

async function tail(path: string, max: number, from: 'head' | 'tail'): Promise<string> {
  const file = await open(path, 'r').catch(() => undefined)
  if (!file) return ''
  try {
    const { size } = await file.stat()
    const length = Math.min(size, max)
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, from === 'head' ? 0 : size - length)
    return buffer.subarray(0, bytesRead).toString('utf8')
  } finally {
    await file.close()
  }
}
