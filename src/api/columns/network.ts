/** Printed columns of networking and discovery kinds. */
import { labelSelectorText } from '../selectors.ts'
import type { EndpointSlice, Ingress, IngressClass, IPAddress, NetworkPolicy, ServiceCIDR } from '../gen/types.ts'
import { age, atMost, nameOf, printer } from './column.ts'
import type { Printer } from './column.ts'
import { balancerAddresses } from './core.ts'

export const ingresses: Printer = printer<Ingress>(
  [
    'Name', 'Class | The name of the IngressClass resource that should be used for additional configuration',
    'Hosts | Hosts that incoming requests are matched against before the ingress rule', 'Address | Address is a list containing ingress points for the load-balancer',
    'Ports | Ports of TLS configurations that open', 'Age',
  ],
  (i, now) => [
    nameOf(i), i.spec?.ingressClassName ?? '<none>', hostsText(i.spec?.rules ?? []), balancerAddresses(i.status?.loadBalancer?.ingress),
    i.spec?.tls?.length ? '80, 443' : '80', age(i, now),
  ],
)

/** The first three hosts; rules beyond them count whether they name a host or not, as kubectl users know it. */
function hostsText(rules: readonly { readonly host?: string }[]): string {
  const hosts: string[] = []
  for (const rule of rules) {
    if (hosts.length === 3) return `${hosts.join(',')} + ${rules.length - 3} more...`
    if (rule.host) hosts.push(rule.host)
  }
  return hosts.join(',') || '*'
}

export const ingressClasses: Printer = printer<IngressClass>(
  [
    'Name', 'Controller | Controller that is responsible for handling this class', 'Parameters | A reference to a resource with additional parameters', 'Age',
  ],
  (i, now) => {
    const p = i.spec?.parameters
    const text = p ? `${p.kind}${p.apiGroup === undefined ? '' : `.${p.apiGroup}`}/${p.name}` : '<none>'
    return [nameOf(i), i.spec?.controller ?? '', text, age(i, now)]
  },
)

export const networkPolicies: Printer = printer<NetworkPolicy>(['Name', 'Pod-Selector | NetworkPolicySpec.podSelector', 'Age'], (n, now) => [
  nameOf(n), labelSelectorText(n.spec?.podSelector), age(n, now),
])

export const serviceCidrs: Printer = printer<ServiceCIDR>(['Name', 'CIDRs | ServiceCIDRSpec.cidrs', 'Age'], (c, now) => [
  nameOf(c), (c.spec?.cidrs ?? []).join(','), age(c, now),
])

export const ipAddresses: Printer = printer<IPAddress>(['Name', 'ParentRef | IPAddressSpec.parentRef'], (a) => {
  const p = a.spec?.parentRef
  if (!p) return [nameOf(a), '<none>']
  const resource = `${p.resource}${p.group ? `.${p.group}` : ''}`.toLowerCase()
  return [nameOf(a), [resource, ...(p.namespace ? [p.namespace] : []), p.name].join('/')]
})

export const endpointSlices: Printer = printer<EndpointSlice>(
  ['Name', 'AddressType | EndpointSlice.addressType', 'Ports | EndpointSlice.ports', 'Endpoints | EndpointSlice.endpoints', 'Age'],
  (e, now) => {
    const ports = (e.ports ?? []).map((p) => (p.port === undefined ? (p.name ?? '*') : String(p.port)))
    const addresses = (e.endpoints ?? []).flatMap((x) => x.addresses)
    return [nameOf(e), e.addressType, atMost(3, ports) || '<unset>', atMost(3, addresses) || '<unset>', age(e, now)]
  },
)
