// Package coordinator turns a client's request into requests to replicas and
// their answers into one: quorum writes and reads at a level that the request
// chooses, range scans, and the exact errors when a level is not reached.
//
// A write is stamped by the hybrid logical clock, its rows are grouped by replica
// set, and each group goes to all live replicas at once; Commit answers when every
// group is decided. The rest of the answers are gathered later. What a replica
// misses is counted and becomes a hint; sloppy writes, and level any, count hints
// that other nodes hold for replicas (handoff). A read asks the nearest replica for
// data and enough others for digests; when they differ, the rows of all are merged,
// asked on for until the merged page is exact, and what a replica lacks of it is
// sent to it (repair).
//
// Invariants:
//   - An answered write was acknowledged by as many replicas as its level needs
//     of the configured replication factor, counted per group.
//   - Answers are merged answers, whether the replicas agree or not.
//   - A level that cannot be reached is refused at once, with need and alive; one
//     that is missed in time says need and got. Client faults are never counted
//     as failures of replicas.
//   - What a read at quorum has answered, no later one answers less of, where read
//     repair is blocking.
//   - A request refused for its catalog version is tried once more with a newer one.
//   - Bytes of writes and numbers of reads in flight are bounded; over the bound
//     requests are refused as overloaded here.
//
// Quorum counting, page merging and cursors are pure, in packages of their own; the
// I/O is in commit, handoff, gather, repair and scan.
//
// Goroutines: writes have none of their own (acknowledgements arrive on the
// transport's), reads and scans one for each replica asked. All are counted as
// open work, end by their deadline, and Run waits for them when it is stopped.
package coordinator
