/** The generated part of `docs/figures.md`: a table a section, each between markers of its own. Pure. */
import type { Figures } from './measure.ts'

export interface Occasion {
  readonly machine: string
  /** Load average before the section began. */
  readonly load: number
  readonly date: string
}

/** A section as Markdown. */
export function sectionText(title: string, figures: Figures, occasion: Occasion): string {
  const cell = (text: string): string => text.replaceAll('|', '\\|')
  const rows = figures.rows.map((r) => `| ${[r.what, r.ours, r.aim ?? '', r.others ?? ''].map(cell).join(' | ')} |`)
  return [`## ${title}`, '', `${occasion.date} UTC, ${occasion.machine}, load before ${occasion.load}. Method: ${figures.method}.`, '', '| What | Ours | Aim | Others |', '|---|---|---|---|', ...rows].join('\n')
}

/**
 * The page with one section replaced, or added after those that come before it in `order`.
 * @throws Error when the page has lost its markers
 */
export function place(page: string, order: readonly string[], name: string, text: string): string {
  const [begin, end] = ['<!-- figures -->', '<!-- /figures -->']
  const from = page.indexOf(begin)
  const to = page.indexOf(end)
  if (from < 0 || to < from) throw new Error(`write docs/figures.md: it has no "${begin}" before "${end}": put both lines where the tables belong`)
  const kept = new Map<string, string>()
  for (const m of page.slice(from, to).matchAll(/<!-- section (\w+) -->\n([\s\S]*?)\n<!-- \/section -->/g)) kept.set(m[1] as string, m[2] as string)
  kept.set(name, text)
  const sections = order.filter((n) => kept.has(n)).map((n) => `<!-- section ${n} -->\n${kept.get(n)}\n<!-- /section -->`)
  return `${page.slice(0, from)}${begin}\n${sections.join('\n\n')}\n${page.slice(to)}`
}
