// Package rpc is gRPC as package transport uses it: one service, described by hand since
// its messages are bytes and there is nothing to generate, and connections that are
// closed at once.
//
// A buffer belongs to whoever has the Message: sending one gives it away, to come back
// to the pool when it is written; receiving one takes one of the pool. No goroutine is
// started here beyond gRPC's own, which end with the server and the connections.
package rpc
