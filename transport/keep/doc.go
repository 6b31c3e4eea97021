// Package keep holds one open thing that is made on demand and shared, such as a
// connection, and made anew after it has failed.
//
// Invariants: at most one thing is kept; who forgets it or closes the keeper gets
// it exactly once, to close it; after Close nothing is opened. The mutex is never
// held over I/O, since opening must not block. There are no goroutines.
package keep
