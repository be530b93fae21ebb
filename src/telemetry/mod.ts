/** Telemetry beside the API: the bounded log, its record format on the wire, and the node's forwarder to the collector. */
export { BASE64, BATCH_CONTENT_TYPE, CONTENT_TYPE, encodeRecord, MAX_ATTACHMENTS, MAX_META, MAX_PAYLOAD, RecordDecoder, type CollectRecord } from './batch.ts'
export { createForwarder, EPOCH_HEADER, INGEST_PATH, LOSSES_HEADER, type FetchLike, type Forwarder, type ForwarderOptions } from './forward.ts'
export type { BoundedLog, BoundedLogOptions, LogRecordData, Loss, StoredRecord } from './log.ts'
export { createMemoryLog, type MemoryLogOptions } from './memory-log.ts'
export { openSegmentLog, type SegmentLogDeps } from './segment-log.ts'
