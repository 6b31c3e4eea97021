// Package purge agrees with the other nodes how far deletions and expired data may
// be dropped, so that nothing that they hide can come back.
//
// Each node has a floor, at or below which it holds no hint that made an
// acknowledgement true, and a fence, at or below which it refuses groups by their
// born timestamp. Fences stay below every member's floor. A pair of replicas has a
// level: what was born at or below it and ever reached one of the two is on both,
// because anti-entropy verified them equal in a session that began when both fences
// were there already. The smallest level of all pairs of a range's replicas may be
// its purge point.
//
// Invariants:
//   - A purge point is taken as a whole: floors, fences and levels never go back, so
//     it does not matter when each of them was heard of.
//   - A node uses a purge point only when its own fence has passed the moment at
//     which it learnt that all pairs are level, and the skew of clocks. So what was
//     read from a replica before that, of data that a late deletion hides, and is
//     written again later by a read repair, its hint or a slow pull, is refused.
//   - A member that does not answer stops all fences, and so all purge points, until
//     it answers or is removed. Status says so.
//   - Floors, fences and purge points are on disk before anybody hears of them.
//   - Everything is a timestamp of some node's hybrid logical clock. A clock that is
//     ahead moves no fence past the other members' floors.
//
// Keeper starts no goroutine: Step and Answer run on their callers'.
package purge
