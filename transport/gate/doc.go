// Package gate keeps what is not HTTP/2 away from a gRPC server. Its Gate is a
// net.Listener that reads the connection preface of each accepted connection under
// a deadline, byte for byte, and lets only those through that sent it.
//
// So a port scanner, a stray HTTP client or line noise costs one goroutine and 24
// bytes for a bounded time. The number of connections without a preface, and that
// of all open connections, are bounded; over a bound new ones are closed at once.
// The Gate owns its goroutines: Close ends them, Wait returns after the last.
package gate
