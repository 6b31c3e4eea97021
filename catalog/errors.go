package catalog

import (
	"errors"
	"fmt"

	"github.com/dunlindb/dunlin/catalog/document"
	"github.com/dunlindb/dunlin/transport"
)

// Wanted reports whether the node was taken out in good order, or not taken in: then
// its end is no failure.
func (e *GoneError) Wanted() bool { return e.Kind == "" || e.Kind == document.KindDecommission }

// The errors about documents.
type (
	TooFewMembersError = document.TooFewMembersError
	ConflictError      = document.ConflictError
	FormatError        = document.FormatError
	RefusedError       = document.RefusedError
)

// ErrUnchanged is returned by a change that finds what it wants in the document
// already; Propose then succeeds without proposing.
var ErrUnchanged = document.ErrUnchanged

// ErrUnderway is the ErrUnchanged of what the change on its way brings about.
var ErrUnderway = document.ErrUnderway

// ErrNoCatalog: this node is not a member of a cluster yet.
var ErrNoCatalog = errors.New("catalog: this node is not a member of a cluster yet")

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

// ForeignError: a document, node or data directory belongs to another cluster.
type ForeignError struct{ What, Theirs, Ours string }

// Error names both clusters.
func (e *ForeignError) Error() string {
	return fmt.Sprintf("catalog: %s belongs to cluster %s, this node to cluster %s", e.What, e.Theirs, e.Ours)
}

func foreign(what string, h transport.Hello, ours *Document) error {
	return &ForeignError{What: what, Theirs: fmt.Sprintf("%q (%s)", h.ClusterName, h.Cluster), Ours: fmt.Sprintf("%q (%s)", ours.Name, ours.Cluster)}
}

// Kinds of the errors that cross to another node.
const (
	kindGone    = "gone"
	kindRefused = "refused"
	kindUnknown = "unknown" // to those who ask: they are no members, and may never have been
	kindInvalid = "invalid"
	kindMember  = "not_a_member"
	kindFailed  = "failed"
)

// crossing gives an error the kind under which it crosses to another node.
func crossing(err error) error {
	if err == nil {
		return nil
	}
	kind := kindFailed
	var (
		gone    *GoneError
		refused *RefusedError
		foreign *ForeignError
		invalid *document.InvalidError
		typed   *transport.ControlError
	)
	switch {
	case errors.As(err, &typed):
		return err
	case errors.As(err, &gone):
		kind = kindGone
	case errors.As(err, &refused) && (refused.Reason == "unknown" || refused.Reason == "generation"):
		kind = kindUnknown
	case errors.As(err, &refused), errors.As(err, &foreign):
		kind = kindRefused
	case errors.As(err, &invalid):
		kind = kindInvalid
	case errors.Is(err, ErrNoCatalog):
		kind = kindMember
	}
	return &transport.ControlError{Kind: kind, Text: err.Error()}
}

// permanent reports whether another node's answer will not change by asking
// again.
func permanent(err error) bool {
	var typed *transport.ControlError
	if !errors.As(err, &typed) {
		return false
	}
	return typed.Kind == kindGone || typed.Kind == kindUnknown || typed.Kind == kindRefused || typed.Kind == kindInvalid
}
