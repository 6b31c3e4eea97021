package paxos

import (
	"bytes"
	"cmp"
	"fmt"

	"github.com/google/uuid"
)

// Ballot orders proposals. The zero Ballot is below all others and means "none".
type Ballot struct {
	Round uint64    `json:"round"`
	Node  uuid.UUID `json:"node"` // the proposer; makes ballots of different nodes distinct
}

// Compare orders ballots by round, then by node: -1, 0 or 1.
func (b Ballot) Compare(other Ballot) int {
	if c := cmp.Compare(b.Round, other.Round); c != 0 {
		return c
	}
	return bytes.Compare(b.Node[:], other.Node[:])
}

// Next is the ballot with which node outbids b.
func (b Ballot) Next(node uuid.UUID) Ballot {
	return Ballot{Round: b.Round + 1, Node: node}
}

// IsZero reports whether b is no ballot.
func (b Ballot) IsZero() bool { return b == Ballot{} }

// String formats a ballot for logs.
func (b Ballot) String() string { return fmt.Sprintf("%d@%s", b.Round, b.Node) }
