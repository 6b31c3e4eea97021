// Package page merges the answers of several replicas to one slice of a partition,
// row by row in walk order, into one page of visible rows.
//
// Each replica is a source, which covers the slice up to where a limit cut its
// answer off. Rows up to a point are merged only when enough sources cover it:
// beyond its cut a replica may hold deletions or newer cells. A replica whose
// answer was used up by rows that others have deleted is asked on from its cut
// (Cassandra's short read protection), each time for more rows.
//
// Invariants:
//   - A page is exactly the first rows of the merge of what its sources hold, as
//     far as limits allow; a page that is done without more has all of them.
//   - A done page with more has at least one row to go on from.
//   - Sources may answer late, twice, overlapping or not at all.
//
// The package is pure: who is asked, and when, is the caller's affair. It has no
// goroutines, and a Page belongs to one.
package page
