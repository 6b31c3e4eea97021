// Package gate counts the calls inside something that must not be used after its
// end.
//
// Invariants: after Close has begun nobody enters; Close returns when the last call
// has left. Entering costs one atomic addition and no lock, since calls do I/O.
// There are no goroutines.
package gate
