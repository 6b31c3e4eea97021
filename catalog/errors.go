package catalog

import (
	"errors"
	"fmt"

	"github.com/dunlindb/dunlin/transport"
)

// ErrUnchanged is returned by a change that finds what it wants in the document
// already; Propose then succeeds without proposing.
var ErrUnchanged = errors.New("catalog: nothing to change")

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
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

// Unwrap returns why the last try failed or ended.
func (e *NoMajorityError) Unwrap() error { return e.Cause }

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
	where := "the cluster"
	if e.Datacenter != "" {
		where = fmt.Sprintf("datacenter %s", e.Datacenter)
	}
	members := "members"
	if e.Members == 1 {
		members = "member"
	}
	return fmt.Sprintf("catalog: %s has %d %s, but keyspace %s wants %d replicas there: start %d more with --join, "+
		"or bootstrap anew with --replication-factor %d", where, e.Members, members, e.Keyspace, e.Factor, e.Factor-e.Members, max(e.Members, 1))
}

// SealedError: the cluster holds data, so a node cannot simply be added.
type SealedError struct{}

// Error says why and what is missing.
func (*SealedError) Error() string {
	return "catalog: the cluster has taken its first write, and a node that joins now would need data moved to it: " +
		"rebalancing is not available yet in this version, so nodes must join before the first write"
}

// FormatError: a document was written by a newer version of Dunlin.
type FormatError struct{ Format int }

// Error says what to do.
func (e *FormatError) Error() string {
	return fmt.Sprintf("catalog: the catalog document has format %d, this version of dunlin reads up to %d: start a newer version", e.Format, format)
}

// ForeignError: a document, node or data directory belongs to another cluster.
type ForeignError struct{ What, Theirs, Ours string }

// Error names both clusters.
func (e *ForeignError) Error() string {
	return fmt.Sprintf("catalog: %s belongs to cluster %s, this node to cluster %s", e.What, e.Theirs, e.Ours)
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

// Kinds of the errors that cross to another node.
const (
	kindSealed  = "sealed"
	kindRefused = "refused"
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
		sealed  *SealedError
		refused *RefusedError
		foreign *ForeignError
		invalid *invalidError
		typed   *transport.ControlError
	)
	switch {
	case errors.As(err, &typed):
		return err
	case errors.As(err, &sealed):
		kind = kindSealed
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
	return typed.Kind == kindSealed || typed.Kind == kindRefused || typed.Kind == kindInvalid
}

// invalidError is a request or document that makes no sense.
type invalidError struct{ reason string }

func (e *invalidError) Error() string { return "catalog: " + e.reason }

func invalidf(f string, args ...any) error { return &invalidError{reason: fmt.Sprintf(f, args...)} }
