// Package problem is how errors look over HTTP: RFC 9457 problems, each with its
// type, and typed fields for what callers decide on.
//
// Of and OfWrite are the one mapping from typed errors, the coordinator's, the
// event scanner's and the request errors of this package, to problems. An error
// that they do not know is the node's own fault, and its text is not shown.
//
// The package is pure and starts no goroutine.
package problem
