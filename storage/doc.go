// Package storage keeps a node's data on disk. It is the only user of Pebble.
//
// An Engine has three stores under one directory: rows, hints (whose churn must not
// sit among the rows), and meta (identity, catalog, Paxos state; always synced).
// All carry one store id, so that a directory put together from two is refused;
// each start counts the boot number up.
//
// Writes go through committers. Every range has one committer (range id mod K),
// which is the only goroutine that writes the range's rows: it drains its queue
// into one batch, commits that without waiting for the disk, and hands it to its
// acker, which waits for the sync and answers. Many writes share one fsync, and
// whatever must not race with writes of a range (adopting a catalog version,
// opening a snapshot, removing a window) runs between two batches.
//
// Invariants:
//   - Rows are written blind, as merge operands; the merger is pure, clock-free and
//     total, and never drops a key.
//   - With "sync" durability an item's Done(nil) comes after the fsync. Meta is always
//     synced.
//   - Keys below all tables belong to the engine (its store id) and to the items of
//     committers, which write them in the batches of rows.
//   - A read sees the partition's head and rows of one moment.
//   - Bytes that cannot be read or decoded are reported as ErrCorrupt and never
//     shown; they do not end the node.
//   - After a failed write or sync of a log nothing is acknowledged any more, and
//     Env.Fatal ends the node. Before a full disk could cause that, writes are
//     refused with a *DiskFullError.
//   - A committer's bounds count items until they are answered, so queued and
//     unsynced work together are bounded.
//   - After Close everything gets ErrClosed.
//
// Goroutines: the committers and ackers (and the syncer of "periodic"), owned by
// the Engine and ended by Close, and Pebble's own.
package storage
