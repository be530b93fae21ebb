/** The front door of the collector: records of nodes and things, and the pages that show them. */
export { createCollector, type Collector, type CollectorOptions } from './collector.ts'
export { createPages, PAGE_LABEL } from './pages.ts'
export { COLLECT_GROUP } from './authorize.ts'
export type { Handler, RequestContext } from './http.ts'
export type { KeptRecord, NodeLoss, Review, ReviewState, StreamInfo } from './types.ts'
