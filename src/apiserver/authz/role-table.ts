/**
 * How the default roles are written down: one line a rule, `verbs groups resources [names]`, each a list with commas, and
 * `core` for the core group; `get /path,/path` for paths. Pure; used when first objects are written, then forgotten.
 */
import type { PolicyRule } from './rbac.ts'

const WORDS: Readonly<Record<string, string>> = {
  read: 'get,list,watch',
  write: 'create,update,patch,delete,deletecollection',
  all: 'get,list,watch,create,update,patch,delete,deletecollection',
}

/** The rules of a table's lines; lists are sorted as Kubernetes sorts them. */
export function rulesOf(lines: string): PolicyRule[] {
  return lines.split('\n').map((line) => line.trim()).filter((line) => line !== '').map(ruleOf)
}

function ruleOf(line: string): PolicyRule {
  const [verbs = '', second = '', resources, names] = line.split(/ +/)
  const list = (text: string): string[] => text.split(',').map((word) => (word === 'core' ? '' : word)).toSorted()
  const allowed = list(verbs.split(',').map((verb) => WORDS[verb] ?? verb).join(','))
  if (resources === undefined) return { verbs: allowed, nonResourceURLs: list(second) }
  return { verbs: allowed, apiGroups: list(second), resources: list(resources), ...(names === undefined ? {} : { resourceNames: list(names) }) }
}
