package paxos

import (
	"slices"

	"github.com/google/uuid"
)

// Phase is how far a ballot has come.
type Phase uint8

// The phases of a ballot. Refused and Decided are final.
const (
	Preparing Phase = iota // prepare requests are out
	Accepting              // a majority promised: send accept requests with Value
	Decided                // a majority accepted: Value is decided
	Refused                // so many refused that no majority is left: start again above Highest
)

// Proposer drives one ballot. It is not safe for concurrent use.
type Proposer struct {
	ballot   Ballot
	value    []byte
	voters   []uuid.UUID
	phase    Phase
	yes      []uuid.UUID // who answered the present phase with yes
	no       []uuid.UUID // who refused either phase
	inherits Ballot      // ballot under which value was accepted before; zero: it is our own
	highest  Ballot
}

// NewProposer starts a ballot among voters for a value. The caller sends prepare
// requests to the voters.
func NewProposer(voters []uuid.UUID, ballot Ballot, value []byte) *Proposer {
	return &Proposer{ballot: ballot, value: value, voters: voters, highest: ballot}
}

// Ballot is the ballot that is driven.
func (p *Proposer) Ballot() Ballot { return p.ballot }

// Phase is how far it has come.
func (p *Proposer) Phase() Phase { return p.phase }

// Value is what to ask voters to accept, and in the end what was decided. From
// Accepting on it may be another proposer's value: see Inherited.
func (p *Proposer) Value() []byte { return p.value }

// Inherited reports whether Value is a value that a voter had accepted before, and
// that this ballot therefore completes instead of its own.
func (p *Proposer) Inherited() bool { return !p.inherits.IsZero() }

// Highest is the largest ballot seen; the next try must be above it.
func (p *Proposer) Highest() Ballot { return p.highest }

// OnPromise takes a voter's answer to the prepare request and returns the phase.
func (p *Proposer) OnPromise(from uuid.UUID, a Promise) Phase {
	if !p.counts(Preparing, from, a.OK, a.Promised) {
		return p.phase
	}
	if a.Accepted.Compare(p.inherits) > 0 {
		p.inherits, p.value = a.Accepted, a.Value
	}
	if p.majority() {
		p.phase = Accepting
		p.yes = nil
	}
	return p.phase
}

// OnAccepted takes a voter's answer to the accept request and returns the phase.
func (p *Proposer) OnAccepted(from uuid.UUID, a Accepted) Phase {
	if p.counts(Accepting, from, a.OK, a.Promised) && p.majority() {
		p.phase = Decided
	}
	return p.phase
}

// counts records one voter's answer to a phase, and reports whether it is a yes
// that counts.
func (p *Proposer) counts(phase Phase, from uuid.UUID, ok bool, promised Ballot) bool {
	if promised.Compare(p.highest) > 0 {
		p.highest = promised
	}
	if p.phase != phase || !slices.Contains(p.voters, from) {
		return false
	}
	if !ok {
		p.no = add(p.no, from)
		if 2*(len(p.voters)-len(p.no)) <= len(p.voters) {
			p.phase = Refused
		}
		return false
	}
	if promised != p.ballot {
		return false // an answer to another ballot
	}
	p.yes = add(p.yes, from)
	return true
}

func add(set []uuid.UUID, id uuid.UUID) []uuid.UUID {
	if slices.Contains(set, id) {
		return set
	}
	return append(set, id)
}

func (p *Proposer) majority() bool { return 2*len(p.yes) > len(p.voters) }
