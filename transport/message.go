package transport

import "github.com/dunlindb/dunlin/transport/wire"

// The messages between nodes, defined with their encoding in package wire.
type (
	// Hello is the first thing that both ends say on a stream, and comes with
	// every control call.
	Hello = wire.Hello
	// Limits are a node's bounds on what others may send it, part of its Hello.
	Limits = wire.Limits
	// Group is a mutation group: rows of one request with the same replica set.
	Group = wire.Group
	// Verdict is the outcome of one request.
	Verdict = wire.Verdict
	// Code says how a request ended.
	Code = wire.Code
	// Error is a verdict other than OK as an error.
	Error = wire.Error
	// ReadRequest asks a replica for a slice of one partition.
	ReadRequest = wire.ReadRequest
	// ReadAnswer is the answer to a ReadRequest.
	ReadAnswer = wire.ReadAnswer
	// ScanRequest asks a replica for part of a token range.
	ScanRequest = wire.ScanRequest
	// ScanAnswer is the answer to a ScanRequest.
	ScanAnswer = wire.ScanAnswer
	// Position is a place in a token range.
	Position = wire.Position
	// ControlError is an error of a peer's control handler. A handler that
	// returns one passes kind and text on; other errors cross with kind "failed".
	ControlError = wire.ControlError
)

// The codes of package wire.
const (
	OK           = wire.OK
	StaleCatalog = wire.StaleCatalog
	UnknownTable = wire.UnknownTable
	Overloaded   = wire.Overloaded
	Fenced       = wire.Fenced
	Quarantined  = wire.Quarantined
	Expired      = wire.Expired
	Failed       = wire.Failed
	Timeout      = wire.Timeout
	Unreachable  = wire.Unreachable
)

// Sink hears how an Apply ended: exactly once for each, from any goroutine, also
// from inside the call of Apply. Done must not block, and the caller of Apply
// must not hold a lock that Done takes.
type Sink interface {
	Done(tag uint32, v Verdict)
}
