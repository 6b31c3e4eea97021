// Package quorum counts: how many replicas a level asks for (Level), what is
// known of a quorum after each answer (Tracker), and the exact error when it is
// not reached.
//
// Invariants: an outcome never changes once it is Reached; an error says what was
// needed and what was had. Everything is pure; there are no goroutines. Package
// coordinator gives the types their public names.
package quorum
