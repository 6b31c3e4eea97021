// Package token maps partition keys to places on the ring.
//
// A token is the signed 64-bit Murmur3 hash of a partition key, exactly as
// Cassandra's Murmur3Partitioner computes it (tail bytes are sign-extended), so
// that every Cassandra driver routes requests straight to a replica. The ring is
// cut into Ranges equal, contiguous ranges: the unit of ownership, movement and
// repair. A range's id is the top RangeBits of the token in ring order.
//
// Everything here is pure; the package starts no goroutine.
package token
