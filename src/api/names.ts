/** Name rules of Kubernetes: each function returns the messages for what is wrong, empty when the text is fine. */

const DNS_LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/
const DNS_SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/
const DNS_1035 = /^[a-z]([-a-z0-9]*[a-z0-9])?$/
const QUALIFIED = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/
const LABEL_VALUE = /^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$/
const ENV_NAME = /^[-._a-zA-Z][-._a-zA-Z0-9]*$/
const CONFIG_KEY = /^[-._a-zA-Z0-9]+$/

const SUBDOMAIN_TEXT =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character"
const tooLong = (max: number): string => `must be no more than ${max} characters`
/** As Kubernetes joins examples, two spaces before each "or" included. */
const regexHint = (text: string, regex: string, ...examples: string[]): string =>
  `${text} (e.g. ${examples.map((e) => `'${e}', `).join(' or ')}regex used for validation is '${regex}')`

/** RFC 1123 label: at most 63 characters. Container and volume names, namespaces. */
export function dnsLabelErrors(value: string): string[] {
  const errors: string[] = []
  if (value.length > 63) errors.push(tooLong(63))
  if (!DNS_LABEL.test(value)) {
    errors.push(
      DNS_SUBDOMAIN.test(value) ? 'must not contain dots' : regexHint(
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
        '[a-z0-9]([-a-z0-9]*[a-z0-9])?',
        'my-name',
        '123-abc',
      ),
    )
  }
  return errors
}

/** RFC 1123 subdomain: at most 253 characters. Names of most objects. */
export function dnsSubdomainErrors(value: string): string[] {
  const errors: string[] = []
  if (value.length > 253) errors.push(tooLong(253))
  if (!DNS_SUBDOMAIN.test(value)) {
    errors.push(regexHint(SUBDOMAIN_TEXT, '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*', 'example.com'))
  }
  return errors
}

/** RFC 1035 label: starts with a letter. Service names. */
export function dns1035Errors(value: string): string[] {
  const errors: string[] = []
  if (value.length > 63) errors.push(tooLong(63))
  if (!DNS_1035.test(value)) {
    errors.push(
      regexHint(
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
        '[a-z]([-a-z0-9]*[a-z0-9])?',
        'my-name',
        'abc-123',
      ),
    )
  }
  return errors
}

/** What is part of a URL path and nothing more: names of RBAC objects. */
export function pathSegmentErrors(value: string): string[] {
  if (value === '.' || value === '..') return [`may not be '${value}'`]
  return ['/', '%'].filter((c) => value.includes(c)).map((c) => `may not contain '${c}'`)
}

/** A label or annotation key: `name` or `prefix/name`. */
export function labelKeyErrors(key: string): string[] {
  // Most keys are short and plain: one look says so.
  if (key.length <= 63 && QUALIFIED.test(key)) return []
  const parts = key.split('/')
  const errors: string[] = []
  const name = parts.at(-1) as string
  const nameText = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
  const qualifiedHint = (prefix: string): string =>
    `${prefix}${regexHint(nameText, '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]', 'MyName', 'my.name', '123-abc')}`
  if (parts.length > 2) {
    return [
      `a qualified name ${regexHint(nameText, '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]', 'MyName', 'my.name', '123-abc')} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`,
    ]
  }
  if (parts.length === 2) {
    if (parts[0] === '') errors.push('prefix part must be non-empty')
    else errors.push(...dnsSubdomainErrors(parts[0] as string).map((e) => `prefix part ${e}`))
  }
  if (name === '') errors.push('name part must be non-empty')
  else if (name.length > 63) errors.push(`name part ${tooLong(63)}`)
  if (!QUALIFIED.test(name)) errors.push(qualifiedHint('name part '))
  return errors
}

/** A label value: at most 63 characters, empty allowed. */
export function labelValueErrors(value: string): string[] {
  const errors: string[] = []
  if (value.length > 63) errors.push(tooLong(63))
  if (!LABEL_VALUE.test(value)) {
    errors.push(
      regexHint(
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
        '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?',
        'MyValue',
        'my_value',
        '12345',
      ),
    )
  }
  return errors
}

/** Keys of ConfigMaps and Secrets. */
export function configKeyErrors(key: string): string[] {
  const errors: string[] = []
  if (key.length > 253) errors.push(tooLong(253))
  if (!CONFIG_KEY.test(key)) {
    errors.push(regexHint("a valid config key must consist of alphanumeric characters, '-', '_' or '.'", '[-._a-zA-Z0-9]+', 'key.name', 'KEY_NAME', 'key-name'))
  }
  if (key === '.' || key === '..') errors.push(`must not be '${key}'`)
  else if (key.startsWith('..')) errors.push("must not start with '..'")
  return errors
}

/** Names of environment variables: anything printable but `=`. */
export function envNameErrors(name: string): string[] {
  if (name === '') return ['environment variable name must not be empty']
  if (ENV_NAME.test(name)) return []
  return /^[\x20-\x3c\x3e-\x7e]+$/.test(name) ? [] : ["a valid environment variable name must consist only of printable ASCII characters other than '='"]
}

/** Names of ports: IANA service names. */
export function portNameErrors(name: string): string[] {
  const errors: string[] = []
  if (name.length > 15) errors.push(tooLong(15))
  if (!/^[-a-z0-9]+$/.test(name)) errors.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
  if (!/[a-z]/.test(name)) errors.push('must contain at least one letter (a-z)')
  if (name.includes('--')) errors.push('must not contain consecutive hyphens')
  if (name.startsWith('-') || name.endsWith('-')) errors.push('must not begin or end with a hyphen')
  return errors
}

/** RFC 1123 subdomain that may have underscores: DNS search paths. */
export function dnsSearchErrors(value: string): string[] {
  const errors: string[] = []
  if (value.length > 253) errors.push(tooLong(253))
  if (!/^[a-z0-9_]([-_a-z0-9]*[a-z0-9_])?(\.[a-z0-9_]([-_a-z0-9]*[a-z0-9_])?)*$/.test(value)) {
    errors.push(
      regexHint(
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character or an underscore",
        '[a-z0-9_]([-_a-z0-9]*[a-z0-9_])?(\\.[a-z0-9_]([-_a-z0-9]*[a-z0-9_])?)*',
        'example.com',
      ),
    )
  }
  return errors
}

/** Names of HTTP headers. */
export function httpHeaderErrors(name: string): string[] {
  if (/^[-A-Za-z0-9]+$/.test(name)) return []
  return [regexHint("a valid HTTP header must consist of alphanumeric characters or '-'", '[-A-Za-z0-9]+', 'X-Header-Name')]
}

/** A percentage: digits and a percent sign. */
export function percentErrors(text: string): string[] {
  if (/^[0-9]+%$/.test(text)) return []
  return [regexHint("a valid percent string must be a numeric string followed by an ending '%'", '[0-9]+%', '1%', '93%')]
}

/** `acme.io/foo`: a domain and a path. */
export function domainPathErrors(text: string): string[] {
  const slash = text.indexOf('/')
  if (slash <= 0 || slash === text.length - 1) return ['must be a domain-prefixed path (such as "acme.io/foo")']
  return dnsSubdomainErrors(text.slice(0, slash))
}
