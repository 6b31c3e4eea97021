// Package admission bounds a coordinator's work in flight, and knows when the last
// of it has ended.
//
// Invariants: over a bound work is refused at once, never queued; one write is
// always admitted, however large; after Stop nothing is admitted, and Drained is
// closed when the last piece of open work has ended. There are no goroutines.
package admission
