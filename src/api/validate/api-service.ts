/** Validation of APIServices: who serves a group and version. */
import type { APIService } from '../gen/types.ts'
import { dns1035Errors, dnsSubdomainErrors } from '../names.ts'
import type { FieldError } from '../status.ts'
import { findings, isPort, PORT_TEXT } from './field.ts'

/** APIService: its name says what it serves. */
export function apiServiceErrors(a: APIService): FieldError[] {
  return findings((e) => {
    const { group = '', version = '', groupPriorityMinimum = 0, versionPriority = 0, service, caBundle, insecureSkipTLSVerify = false } = a.spec ?? {}
    const wanted = `${version}.${group}`
    if (a.metadata?.name !== wanted) e.invalid('metadata.name', a.metadata?.name, `must be \`spec.version+"."+spec.group\`: ${JSON.stringify(wanted)}`)
    if (group === '' && version !== 'v1') e.required('spec.group', 'only v1 may have an empty group and it better be legacy kube')
    e.optional('spec.group', group, dnsSubdomainErrors)
    e.text('spec.version', version, dns1035Errors)
    if (groupPriorityMinimum <= 0 || groupPriorityMinimum > 20000) e.invalid('spec.groupPriorityMinimum', groupPriorityMinimum, 'must be positive and less than 20000')
    if (versionPriority <= 0 || versionPriority > 1000) e.invalid('spec.versionPriority', versionPriority, 'must be positive and less than 1000')
    if (!service) {
      if (caBundle) e.invalid('spec.caBundle', `${atob(caBundle).length} bytes`, 'local APIServices may not have a caBundle')
      if (insecureSkipTLSVerify) e.invalid('spec.insecureSkipTLSVerify', true, 'local APIServices may not have insecureSkipTLSVerify')
      return
    }
    if (!service.namespace) e.required('spec.service.namespace')
    if (!service.name) e.required('spec.service.name')
    if (!isPort(service.port)) e.invalid('spec.service.port', service.port ?? 0, `port is not valid: ${PORT_TEXT}`)
    if (insecureSkipTLSVerify && caBundle) e.invalid('spec.insecureSkipTLSVerify', true, 'may not be true if caBundle is present')
  })
}

/** Through the status door. */
export function apiServiceStatusErrors(a: APIService): FieldError[] {
  return findings((e) => {
    for (const [i, c] of (a.status?.conditions ?? []).entries()) e.chosen(`status.conditions[${i}].status`, c.status, ['True', 'False', 'Unknown'])
  })
}
