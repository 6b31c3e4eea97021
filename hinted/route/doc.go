// Package route decides where the rows of a hint go by a view of the catalog: to
// the target as far as it holds their ranges, and otherwise to all the replicas of
// a range, or to nobody. Plain rows of ranges that have changed since go to nobody.
//
// Rows keep their order, every row is in exactly one of: the parcels of one replica
// set, the lost, the dropped; and a hint whose entries cannot be read has no parcels.
// Everything here is pure; the package starts no goroutines.
package route
