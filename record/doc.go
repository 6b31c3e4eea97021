// Package record defines what Dunlin stores: keys, row fragments and partition
// heads, how they merge, what a reader may see of them, and their digests.
//
// A row is a join-semilattice: every write is a fragment (the cells, deletion or
// liveness that it touched), and merging fragments is commutative, associative and
// idempotent. So writes need no read before them, replicas need no order among
// themselves, and hints, repair and movement can deliver anything twice.
//
// Merge order of two values in one place, total and without a clock: larger
// timestamp; tombstone over expiring over plain; later expiry or deletion time;
// smaller TTL; larger value (of expiring cells: larger value hash, because a
// purge may have shrunk one side to its hash). A deletion shadows everything
// with a timestamp at or below its own.
//
// Within a row (row deletion, collection tombstone) the merge drops what is shadowed.
// Partition and range deletions live in the partition's head and shadow when
// rows are read, since the fragment they hide may arrive after them.
//
// Encodings are canonical: equal meaning, equal bytes. The first byte is the
// version; an unknown one is refused, never guessed. A merge that meets an operand
// it cannot decode yields poison, which keeps all operands for a later version.
//
// The package is pure: no I/O, no clock, no goroutine.
package record
