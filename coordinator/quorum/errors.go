package quorum

import (
	"fmt"
	"time"
)

// RetryAfter is what overloaded answers suggest to clients.
const RetryAfter = time.Second

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

// LevelError: a level that is unknown or does not fit the keyspace.
type LevelError struct {
	Level, Reason string
}

// Error describes the error for people.
func (e *LevelError) Error() string {
	return fmt.Sprintf("coordinator: level %q %s", e.Level, e.Reason)
}

// UnknownTableError: replicas know no such table; it has been dropped.
type UnknownTableError struct{ Table uint32 }

// Error describes the error for people.
func (e *UnknownTableError) Error() string {
	return fmt.Sprintf("coordinator: table %d does not exist any more", e.Table)
}
