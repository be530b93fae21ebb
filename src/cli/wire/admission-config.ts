/** Kubernetes' file of admission configuration (`--admission-control-config-file`), read before the first request; a path in it is beside the file. */
import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { load } from 'js-yaml'
import { parseAdmissionConfig, type ApiServerOptions } from '../../apiserver/mod.ts'
import { AppError, messageOf } from '../../base/errors.ts'

/** @throws AppError `invalid` that names file, key and value */
export async function readAdmissionConfig(file: string | undefined): Promise<Pick<ApiServerOptions, 'podSecurity'>> {
  if (file === undefined) return {}
  let named = file
  const read = async (path: string): Promise<unknown> => {
    named = path
    return load(await readFile(path, 'utf8'))
  }
  try {
    return { podSecurity: await parseAdmissionConfig(await read(file), (path) => read(resolve(dirname(file), path))) }
  } catch (error) {
    const of = named === file ? '' : ` (${named})`
    throw new AppError('invalid', `start server: --admission-control-config-file ${file}${of}: ${messageOf(error)}`)
  }
}
