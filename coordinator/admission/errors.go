package admission

import (
	"fmt"
	"time"
)

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
