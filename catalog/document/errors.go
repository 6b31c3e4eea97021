package document

import (
	"errors"
	"fmt"
	"strings"
)

// ErrUnchanged is returned by a change that finds what it wants in the document
// already; Propose then succeeds without proposing.
var ErrUnchanged = errors.New("catalog: nothing to change")

// ErrUnderway is the ErrUnchanged of what the change on its way brings about.
var ErrUnderway = fmt.Errorf("%w: it is on its way", ErrUnchanged)

// TooFewMembersError: the cluster cannot be sealed, because a keyspace wants more
// replicas than there are members.
type TooFewMembersError struct {
	Keyspace   string
	Datacenter string // empty: of any
	Members    int
	Factor     int
}

// Error names the ways out.
func (e *TooFewMembersError) Error() string {
	return fmt.Sprintf("catalog: %s: start %d more with --join, or bootstrap anew with --replication-factor %d", e.lack("has"), e.Factor-e.Members, max(e.Members, 1))
}

// lack says what is missing in a cluster that has, or would have, so many members.
func (e *TooFewMembersError) lack(has string) string {
	where, members := "the cluster", "members"
	if e.Datacenter != "" {
		where = "datacenter " + e.Datacenter
	}
	if e.Members == 1 {
		members = "member"
	}
	return fmt.Sprintf("%s %s %d %s, but keyspace %s wants %d replicas there", where, has, e.Members, members, e.Keyspace, e.Factor)
}

// ConflictError refuses a change of the layout for what the cluster is now.
type ConflictError struct{ Reason string }

// Error says why.
func (e *ConflictError) Error() string { return "catalog: " + e.Reason }

// Conflict marks the error for front doors.
func (e *ConflictError) Conflict() bool { return true }

// Conflictf makes a ConflictError. Errors among args lose the names of their packages.
func Conflictf(f string, args ...any) error {
	for i, arg := range args {
		if err, ok := arg.(error); ok {
			args[i] = strings.TrimPrefix(strings.TrimPrefix(err.Error(), "catalog: "), "ring: ")
		}
	}
	return &ConflictError{Reason: fmt.Sprintf(f, args...)}
}

// FormatError: a document was written by a newer version of Dunlin.
type FormatError struct{ Format int }

// Error says what to do.
func (e *FormatError) Error() string {
	return fmt.Sprintf("catalog: the catalog document has format %d, this version of dunlin reads up to %d: start a newer version", e.Format, Format)
}

// RefusedError: a node may not take part under its identity.
type RefusedError struct {
	Node   string
	Reason string // one word, the label of the metric
	Detail string
}

// Error says who is refused and why.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("catalog: node %s is refused: %s", e.Node, e.Detail)
}

// InvalidError is a request or document that makes no sense.
type InvalidError struct{ reason string }

func (e *InvalidError) Error() string { return "catalog: " + e.reason }

// Invalidf makes an InvalidError.
func Invalidf(f string, args ...any) error { return &InvalidError{reason: fmt.Sprintf(f, args...)} }
