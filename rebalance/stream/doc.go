// Package stream fills a range of this node from another replica, page by page: the
// fast path for a node that becomes a replica of ranges that it has nothing of.
//
// A Source reads pages for others; a Sink asks for them and stores them. A page is
// the next entries of a range, in all tables of a keyspace, in one order: the heads
// of each table, which hide rows, then the rows, of windowed tables the newest
// window first. So the last key is all that has to be known to go on.
//
// Nothing depends on it but time: anti-entropy compares the range afterwards and
// pulls what is missing. So a page may be lost, come twice, or show a later moment
// than the one before.
//
// Invariants:
//   - A page is stored as any write is, by Replica.Apply: merge operands, behind the
//     checks of version, fence and retention floor, with its leaves marked, under the
//     bounds of the committer's queue. It was born before it was asked for, so it
//     needs no exemption from the fence: one that comes too late is asked for again.
//   - A page counts when the committer has answered. Nothing is applied after Fill
//     has returned, and one target is filled by one Fill at a time.
//   - A page is of one moment, of one catalog version that both sides serve by, and
//     shows no row that a deletion hides that this moment has.
//   - A peer is not believed: the checksum, the order of the keys, and that each is
//     of the range and of a table of the keyspace and can be decoded, are checked
//     before anything of the page is stored.
//   - What cannot be read at the source is reported there, as any reader does, and
//     does not travel.
//   - Pages served at once, targets filled at once, bytes a second, and tries in a
//     row are bounded by the Config.
//   - Where a target is filled to is persisted every few pages, after they were
//     stored; with "periodic" durability of rows a crash may lose rows before that,
//     and anti-entropy brings them.
//
// The package starts no goroutine: pages are read and stored on the callers'. No
// lock is held over a call, a wait or the disk.
package stream
