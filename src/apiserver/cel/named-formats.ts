/** The formats of Kubernetes' CEL format library: what is wrong with a text, nothing when it fits. Pure. */
import { hasFormat, isBase64, isDateTime } from '../../api/formats.ts'
import { dns1035Errors, dnsLabelErrors, dnsSubdomainErrors, labelKeyErrors, labelValueErrors } from '../../api/names.ts'

type Check = (text: string) => string[]

const said = (holds: (text: string) => boolean, message: string): Check => (text) => (holds(text) ? [] : [message])
/** A `generateName` may end with a dash, where the random part will follow. */
const prefix = (check: Check): Check => (text) => check(text.endsWith('-') ? `${text.slice(0, -1)}a` : text)

/** By the function that gives the format. */
export const NAMED_FORMATS: Readonly<Record<string, Check>> = {
  dns1123Label: dnsLabelErrors,
  dns1123LabelPrefix: prefix(dnsLabelErrors),
  dns1123Subdomain: dnsSubdomainErrors,
  dns1123SubdomainPrefix: prefix(dnsSubdomainErrors),
  dns1035Label: dns1035Errors,
  dns1035LabelPrefix: prefix(dns1035Errors),
  qualifiedName: labelKeyErrors,
  labelValue: labelValueErrors,
  uri: said((t) => hasFormat('uri', t), 'invalid URI'),
  uuid: said((t) => hasFormat('uuid', t), 'does not match the UUID format'),
  byte: said(isBase64, 'invalid base64'),
  date: said((t) => hasFormat('date', t), 'invalid date'),
  datetime: said(isDateTime, 'invalid datetime'),
}
