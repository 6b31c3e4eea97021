// Package cursor is the place where a page ended, as clients carry it to the next
// one.
//
// Invariants: a cursor holds nothing secret and any node accepts it; a damaged one,
// or one of another version, is refused with an *Error that says why. Everything
// is pure; there are no goroutines.
package cursor
