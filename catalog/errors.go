package catalog

import (
	"errors"
	"fmt"

	"github.com/dunlindb/dunlin/catalog/document"
	"github.com/dunlindb/dunlin/transport"
)

// The errors about documents.
type (
	TooFewMembersError = document.TooFewMembersError
	ConflictError      = document.ConflictError
	FormatError        = document.FormatError
	RefusedError       = document.RefusedError
	NoMajorityError    = document.NoMajorityError
	GoneError          = document.GoneError
	ForeignError       = document.ForeignError
)

// ErrUnchanged is returned by a change that finds what it wants in the document
// already; Propose then succeeds without proposing.
var ErrUnchanged = document.ErrUnchanged

// ErrUnderway is the ErrUnchanged of what the change on its way brings about.
var ErrUnderway = document.ErrUnderway

// ErrNoCatalog: this node is not a member of a cluster yet.
var ErrNoCatalog = errors.New("catalog: this node is not a member of a cluster yet")

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
