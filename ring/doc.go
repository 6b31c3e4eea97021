// Package ring decides who holds what.
//
// A Layout is the data that the catalog agrees on: the members, and an explicit
// owner for each of the token.Ranges ranges. It is data and not a function that
// every node recomputes, so that version skew or a library's update can never make
// two nodes disagree. A Ring is the immutable table derived from one layout version:
// the replicas of every range, found by Cassandra's walk (the owner, then the
// owners of the following ranges, distinct nodes, distinct zones first), so that
// token-aware drivers agree with Dunlin.
//
// buraksezer/consistent proposes owners. A refiner takes of the proposal what it
// needs: ranges move towards joiners only, until each owns its quota, and are then
// exchanged until replica counts are even and hardly anything moved besides. The
// library's GetClosestN, LocateKey and FindPartitionID are never used: they ignore
// zones, and map keys without regard to token order.
//
// Everything here is pure: no I/O, no clock, no goroutine; the same input gives
// the same table on every machine.
package ring
