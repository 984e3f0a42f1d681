-- A part of a wxhost recovery store. FORMAT.md says what the tables and columns are.
CREATE TABLE meta(k TEXT PRIMARY KEY, v ANY NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE executions(x INTEGER PRIMARY KEY, started_at INTEGER NOT NULL, workers INTEGER NOT NULL,
                        resume_epoch INTEGER NOT NULL, wxhost TEXT NOT NULL) STRICT;
CREATE TABLE steps(step INTEGER PRIMARY KEY, step_id TEXT NOT NULL, kind TEXT NOT NULL, fingerprint BLOB NOT NULL) STRICT;
CREATE TABLE epochs(epoch INTEGER PRIMARY KEY, x INTEGER NOT NULL, sealed_at INTEGER NOT NULL, chain BLOB NOT NULL) STRICT;
-- Blocks come last, so that reading the columns before them never touches their pages.
CREATE TABLE deltas(id INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, step INTEGER NOT NULL, grp_lo INTEGER NOT NULL,
                    grp_hi INTEGER NOT NULL, n INTEGER NOT NULL, crc INTEGER NOT NULL, block BLOB NOT NULL) STRICT;
CREATE TABLE bases(id INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, step INTEGER NOT NULL, grp_lo INTEGER NOT NULL,
                   grp_hi INTEGER NOT NULL, n INTEGER NOT NULL, crc INTEGER NOT NULL, block BLOB NOT NULL) STRICT;
CREATE TABLE sources(id INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, step INTEGER NOT NULL, part TEXT NOT NULL,
                     crc INTEGER NOT NULL, position BLOB NOT NULL) STRICT;
CREATE TABLE sinks(id INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, step INTEGER NOT NULL, part TEXT NOT NULL,
                   crc INTEGER NOT NULL, manifest BLOB NOT NULL) STRICT;
