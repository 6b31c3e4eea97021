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

// NoMajorityError: too few voters answered for the document to change. What is
// served by it goes on.
type NoMajorityError struct {
	Voters, Need int
	Alive        int // voters that answered the last try
	Cause        error
}

// Error says how many voters answered of how many.
func (e *NoMajorityError) Error() string {
	text := fmt.Sprintf("catalog: a change needs %d of %d voters, the last try reached %d", e.Need, e.Voters, e.Alive)
	if e.Alive < e.Need {
		text += " (start the others again; if most are lost for good: dunlin recover)"
	}
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

// Unwrap returns why the last try failed or ended.
func (e *NoMajorityError) Unwrap() error { return e.Cause }

// GoneError: this node was a member and is none any more.
type GoneError struct {
	Kind    string // of the change that removed it; empty: its joining was aborted
	Version uint64
}

// Error says what to do.
func (e *GoneError) Error() string {
	if e.Kind == "" {
		return fmt.Sprintf("catalog: this node's joining was aborted (catalog version %d): start it again to join again", e.Version)
	}
	return fmt.Sprintf("catalog: this node was taken out of the cluster (%s, catalog version %d) and cannot come back under its identity: "+
		"wipe its directory to join as a new node", e.Kind, e.Version)
}

// Wanted reports whether the node was taken out in good order, or not taken in: then
// its end is no failure.
func (e *GoneError) Wanted() bool { return e.Kind == "" || e.Kind == KindDecommission }

// ForeignError: a document, node or data directory belongs to another cluster.
type ForeignError struct{ What, Theirs, Ours string }

// Error names both clusters.
func (e *ForeignError) Error() string {
	return fmt.Sprintf("catalog: %s belongs to cluster %s, this node to cluster %s", e.What, e.Theirs, e.Ours)
}
