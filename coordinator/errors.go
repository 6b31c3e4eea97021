package coordinator

import (
	"errors"
	"fmt"
	"time"
)

// ErrNoCatalog means that this node does not belong to a cluster yet.
var ErrNoCatalog = errors.New("coordinator: this node has no catalog yet: it has not joined a cluster")

// ErrStopping means that this node is shutting down; another one may serve.
var ErrStopping = errors.New("coordinator: this node is stopping; ask another one")

// UnavailableError: too few replicas can be reached for the level. With Sent
// false nothing was sent; with Sent true replicas failed after sending, and a
// write may have been applied on some of them.
type UnavailableError struct {
	Need, Alive int
	Sent        bool
	Detail      string // the last replica's reason, if one was heard
}

// Error describes the error for people.
func (e *UnavailableError) Error() string {
	text := fmt.Sprintf("coordinator: unavailable: need %d replicas, %d alive", e.Need, e.Alive)
	if e.Detail != "" {
		text += " (" + e.Detail + ")"
	}
	return text
}

// TimeoutError: too few replicas answered before the deadline. A write may have
// been applied, or still be.
type TimeoutError struct {
	Need, Got int
	Write     bool
}

// Error describes the error for people.
func (e *TimeoutError) Error() string {
	if e.Write {
		return fmt.Sprintf("coordinator: timeout: need %d acknowledgements, got %d; the write may have been applied", e.Need, e.Got)
	}
	return fmt.Sprintf("coordinator: timeout: need %d answers, got %d", e.Need, e.Got)
}

// OverloadedError: the request was refused to protect a node. Local means this
// one: nothing was sent. Otherwise replicas refused, and a write may have been
// applied on others.
type OverloadedError struct {
	Local      bool
	Detail     string
	RetryAfter time.Duration
}

// Error describes the error for people.
func (e *OverloadedError) Error() string {
	where := "replicas are"
	if e.Local {
		where = "this node is"
	}
	return "coordinator: " + where + " overloaded: " + e.Detail
}

// SkewedError: a timestamp lies too far ahead. Client says whose fault it is:
// the client's timestamp or session token, or else this node's own clock.
type SkewedError struct {
	Client bool
	Field  string // "timestamp" or "session" when Client is set
	Err    error  // *hlc.SkewError, or why this node refuses to stamp
}

// Error describes the error for people.
func (e *SkewedError) Error() string {
	if e.Client {
		return "coordinator: the " + e.Field + " is refused: " + e.Err.Error()
	}
	return "coordinator: this node takes no writes: " + e.Err.Error()
}

// Unwrap returns the clock's error.
func (e *SkewedError) Unwrap() error { return e.Err }

// LevelError: a level that is unknown or does not fit the keyspace.
type LevelError struct {
	Level, Reason string
}

// Error describes the error for people.
func (e *LevelError) Error() string {
	return fmt.Sprintf("coordinator: level %q %s", e.Level, e.Reason)
}

// UnsealableError: the cluster has no data yet, and the catalog could not be
// sealed for the first write. Nothing was written.
type UnsealableError struct{ Err error }

// Error describes the error for people.
func (e *UnsealableError) Error() string {
	return "coordinator: the first write needs a sealed catalog: " + e.Err.Error()
}

// Unwrap returns the catalog's error.
func (e *UnsealableError) Unwrap() error { return e.Err }

// TooLargeError: a row is larger than a replica would accept.
type TooLargeError struct{ Bytes, Max int }

// Error describes the error for people.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("coordinator: the row has %d bytes, at most %d are accepted", e.Bytes, e.Max)
}

// RetiredError: a row lies below its table's retention floor.
type RetiredError struct {
	Table string
	Floor time.Time // the earliest time that the table keeps
}

// Error describes the error for people.
func (e *RetiredError) Error() string {
	return fmt.Sprintf("coordinator: %s keeps nothing from before %s", e.Table, e.Floor.UTC().Format(time.RFC3339))
}

// UnknownTableError: replicas know no such table; it has been dropped.
type UnknownTableError struct{ Table uint32 }

// Error describes the error for people.
func (e *UnknownTableError) Error() string {
	return fmt.Sprintf("coordinator: table %d does not exist any more", e.Table)
}

// CursorError: a page cursor that was not made by this version of Dunlin, was
// damaged, or belongs to another request.
type CursorError struct{ Reason string }

// Error describes the error for people.
func (e *CursorError) Error() string {
	return "coordinator: the cursor is not valid: " + e.Reason + "; begin again without one"
}
