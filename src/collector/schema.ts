/**
 * Tables of `records.db`. `seq` is the order of arrival and the list's cursor; `version` is raised by every change of a record
 * and is what a live reader resumes from.
 */
export const MIGRATIONS: readonly string[] = [
  `CREATE TABLE records (
     seq INTEGER PRIMARY KEY AUTOINCREMENT, version INTEGER NOT NULL,
     namespace TEXT NOT NULL, stream TEXT NOT NULL, id TEXT NOT NULL,
     node TEXT NOT NULL, pod TEXT, author TEXT, time_ms REAL NOT NULL, received_ms REAL NOT NULL, data TEXT NOT NULL, bytes INTEGER NOT NULL,
     state TEXT NOT NULL DEFAULT 'pending', reviewer TEXT, review_ms REAL, note TEXT, issue INTEGER,
     UNIQUE (namespace, stream, id));
   CREATE INDEX records_version ON records (version);
   CREATE INDEX records_list ON records (namespace, stream, seq);
   CREATE INDEX records_live ON records (namespace, stream, version);
   CREATE INDEX records_reviewed ON records (seq) WHERE state <> 'pending';
   CREATE TABLE attachments (
     seq INTEGER NOT NULL, place INTEGER NOT NULL, name TEXT NOT NULL, content_type TEXT NOT NULL, size INTEGER NOT NULL, sha256 TEXT NOT NULL,
     PRIMARY KEY (seq, name)) WITHOUT ROWID;
   CREATE INDEX attachments_sha ON attachments (sha256);
   CREATE TABLE spools (node TEXT NOT NULL, epoch TEXT NOT NULL, seq INTEGER NOT NULL, seen_ms REAL NOT NULL, PRIMARY KEY (node, epoch)) WITHOUT ROWID;
   CREATE TABLE streams (namespace TEXT NOT NULL, stream TEXT NOT NULL, issued INTEGER NOT NULL, PRIMARY KEY (namespace, stream)) WITHOUT ROWID;
   CREATE TABLE losses (
     node TEXT NOT NULL, epoch TEXT NOT NULL, from_seq INTEGER NOT NULL, to_seq INTEGER NOT NULL,
     from_ms REAL NOT NULL, to_ms REAL NOT NULL, bytes INTEGER NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (node, epoch, from_seq)) WITHOUT ROWID;
   CREATE TABLE dropped (
     namespace TEXT NOT NULL, stream TEXT NOT NULL, state TEXT NOT NULL, day TEXT NOT NULL,
     records INTEGER NOT NULL, bytes INTEGER NOT NULL, from_ms REAL NOT NULL, to_ms REAL NOT NULL, PRIMARY KEY (namespace, stream, state, day)) WITHOUT ROWID`,
]
