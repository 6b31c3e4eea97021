// Package replica is this node as a holder of ranges: it applies mutation
// groups, answers reads, digests and scans, and fences them by catalog version.
//
// Client writes, hints, repair and movement all end in Apply. A group becomes
// one work item on the committer that owns its ranges (one on each, if the
// store has several), and is answered after the batch it rode in is synced.
//
// Invariants:
//   - A group is applied under exactly one catalog version: committers adopt a
//     version between two batches, and the fence is checked while staging.
//   - A request older than the last change of its range gets StaleCatalog; for a
//     request newer than this node the catalog is caught up first.
//   - Rows below a table's retention floor are never stored or shown.
//   - Data that storage finds corrupt is counted, logged and never served.
//   - A leaf (record.Leaf) that is called clean holds what was hashed: the first row
//     after a hash marks it in the batch that it rides in. Rows of leaves that are
//     marked already cost a look at a bit.
//   - Every Apply ends in exactly one call of its sink, also after Close.
//
// Goroutines: Apply runs on its caller's goroutine and the committers', Read
// and Scan on the caller's. Groups that wait for the catalog have a goroutine
// each, bounded by Config.CatchUps; Close ends them and waits.
package replica
