// Package damage finds what of a store cannot be read.
//
// Tables are read in blocks. A block whose checksum fails makes every read that
// comes by it fail. Around finds a key before which, and one from which on,
// everything can be read, so that what is between them can be cut out.
//
// Invariants:
//   - A span ends where reads in both directions succeed. An excise looks for the
//     bounds of what is left of a file there, and takes a block that it cannot read
//     for the end of the file; and whoever reads on from there does not come by the
//     damage.
//   - Errors other than those of damaged bytes end the search.
//
// The package starts no goroutine.
package damage
