//! Bytes to batches and back. No I/O here.
