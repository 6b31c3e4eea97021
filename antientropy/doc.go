// Package antientropy makes replicas equal: always on, it compares what this node
// and its peers hold of the ranges that they share, and pulls the rows that differ.
//
// What is compared is a tree. A leaf is a table's rows of one range and, in
// windowed tables, one window; or the partition heads of a table and range. Its
// content is hashed in canonical form (record.Canon), once: the replica's marks
// tell when it was written since. A root is the hash of a range's leaves in one
// keyspace. One message compares the roots of all ranges shared with a peer.
// Ranges that differ get a session: the lists of leaves; within a leaf that
// differs fixed buckets of the hash of the row key, eight for each one above;
// within buckets the keys' hashes and digests, in key order; then the rows.
//
// Invariants:
//   - Nobody pushes rows. A session pulls what this node lacks and asks the peer to
//     pull what it lacks. Both apply what they pulled as any write, and wait for
//     the sync.
//   - Heads are made equal before rows are compared, because their deletions
//     decide what of a row counts.
//   - Only rows that differ travel, and leaves that are clean on both sides and
//     equal are not read.
//   - A session is verified when, of every leaf of the range in the keyspace, the
//     hashes were equal, or every key that differed was pulled and synced on both
//     sides. No moment is common to both sides, and none is needed: whatever is
//     read is read after the session began, and content only grows (a merge never
//     takes back), so each side is seen to hold at least what it held when the
//     session began. So the answering side keeps no snapshot, and a walk through a
//     leaf may be cut into pieces, each of one moment of its own.
//   - Of the sessions that change a range here on behalf of a peer (our own and the
//     peer's pulls) only one runs at a time, and a session waits for everything it
//     asked for: no row that was pulled is applied after its session has ended.
//   - Both sides serve by the same catalog version, so retention floors, tables and
//     replicas of a range are the same; else the session does not happen.
//   - Rows that cannot be read or decoded end the session and do not travel. A node
//     with a range in quarantine takes part only in sessions that fill it, here or there.
//   - A range that is about to be filled in bulk here is not compared before: it would be
//     pulled row by row, and once more in bulk.
//   - Settling never looks at timestamps: a leaf that was written a moment ago is
//     compared in a later round, and after Config.Deferrals rounds anyway.
//   - With each peer at most one session is open. Open sessions take turns, and peers
//     that are slow to answer keep Step waiting for no more than half of the time while
//     others have something to do. What counts for Config.Share is work: here, and
//     at peers as far as an answer can be work.
//
// Step is the whole of the work here; Handle answers peers. The package starts no
// goroutine: both run on their callers'.
package antientropy
