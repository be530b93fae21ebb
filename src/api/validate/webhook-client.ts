/** Where a webhook is reached, as configurations and CRDs name it: URL or Service, and the CA that vouches for it. */
import { dnsSubdomainErrors } from '../names.ts'
import { fieldInvalid, fieldRequired } from '../status.ts'
import type { FieldError } from '../status.ts'

interface ClientConfig {
  readonly url?: string
  readonly service?: { readonly namespace?: string; readonly name?: string; readonly path?: string; readonly port?: number }
  readonly caBundle?: string
}

/** What is wrong with a `clientConfig`; `path` starts the field names. */
export function clientConfigErrors(client: ClientConfig, path: string): FieldError[] {
  const { url, service, caBundle } = client
  const errors: FieldError[] = []
  if ((url === undefined) === (service === undefined)) errors.push(fieldRequired(path, 'exactly one of url or service is required'))
  else if (url !== undefined) errors.push(...urlErrors(url, `${path}.url`))
  else if (service) errors.push(...serviceErrors(service, `${path}.service`))
  if (caBundle && !holdsCertificate(caBundle)) errors.push(fieldInvalid(`${path}.caBundle`, caBundle, 'unable to load root certificates: unable to parse bytes as PEM block'))
  return errors
}

function urlErrors(text: string, path: string): FieldError[] {
  const form = '; desired format: https://host[/path]'
  if (!/^[a-z][a-z0-9+.-]*:/i.test(text)) return [fieldInvalid(path, '', `'https' is the only allowed URL scheme${form}`), ...(text.startsWith('//') ? [] : [fieldInvalid(path, '', `host must be specified${form}`)])]
  // Browsers read three slashes as two; a host is still missing.
  if (/^https:\/{3,}/i.test(text)) return [fieldInvalid(path, '', `host must be specified${form}`)]
  if (!URL.canParse(text)) return [/^https:\/*($|[/?#])/.test(text) ? fieldInvalid(path, '', `host must be specified${form}`) : fieldRequired(path, `url must be a valid URL: parse ${JSON.stringify(text)}: invalid URL${form}`)]
  const url = new URL(text)
  const errors: FieldError[] = []
  if (url.protocol !== 'https:') errors.push(fieldInvalid(path, url.protocol.slice(0, -1), `'https' is the only allowed URL scheme${form}`))
  if (url.host === '') errors.push(fieldInvalid(path, '', `host must be specified${form}`))
  if (url.username !== '' || url.password !== '') errors.push(fieldInvalid(path, url.username + (url.password && `:${url.password}`), 'user information is not permitted in the URL'))
  if (url.hash !== '') errors.push(fieldInvalid(path, url.hash.slice(1), 'fragments are not permitted in the URL'))
  if (url.search !== '') errors.push(fieldInvalid(path, url.search.slice(1), 'query parameters are not permitted in the URL'))
  return errors
}

function serviceErrors(service: NonNullable<ClientConfig['service']>, path: string): FieldError[] {
  const errors: FieldError[] = []
  if (!service.name) errors.push(fieldRequired(`${path}.name`, 'service name is required'))
  if (!service.namespace) errors.push(fieldRequired(`${path}.namespace`, 'service namespace is required'))
  const { path: at, port = 443 } = service
  if (!Number.isInteger(port) || port < 1 || port > 65535) errors.push(fieldInvalid(`${path}.port`, port, 'port is not valid: must be between 1 and 65535, inclusive'))
  if (at === undefined || at === '/' || at === '') return errors
  if (!at.startsWith('/')) errors.push(fieldInvalid(`${path}.path`, at, "must start with a '/'"))
  const segments = at.replace(/^\//, '').replace(/\/$/, '').split('/')
  for (const [i, segment] of segments.entries()) {
    if (segment === '') return [...errors, fieldInvalid(`${path}.path`, at, `segment[${i}] may not be empty`)]
    for (const text of dnsSubdomainErrors(segment)) errors.push(fieldInvalid(`${path}.path`, at, `segment[${i}]: ${text}`))
  }
  return errors
}

function holdsCertificate(base64: string): boolean {
  try {
    return /-----BEGIN CERTIFICATE-----[\s\S]+-----END CERTIFICATE-----/.test(atob(base64.replace(/\s/g, '')))
  } catch {
    return false
  }
}
