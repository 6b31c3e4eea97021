package quorum

import "github.com/dunlindb/dunlin/transport"

// Outcome is what is known of a quorum.
type Outcome uint8

const (
	Open       Outcome = iota // not decided yet
	Reached                   // as many acknowledgements as needed
	Impossible                // too many failed: it cannot be reached any more
	Refused                   // the request itself is at fault
)

// Tracker counts a quorum: a value, changed by its methods only.
type Tracker struct {
	Need, replicas uint8 // replicas counts those that may still answer at the start
	Acks           uint8
	failures       uint8 // failed for whatever reason, the following included
	overloads      uint8
	timeouts       uint8
	stale          uint8
	fault          bool // a replica found the request at fault
}

// NewTracker begins to count. alive replicas were asked, need must acknowledge.
func NewTracker(need, alive int) Tracker {
	return Tracker{Need: uint8(need), replicas: uint8(alive)}
}

// Add counts one replica's answer and returns what is known then.
func (t *Tracker) Add(code transport.Code) Outcome {
	switch code {
	case transport.OK:
		t.Acks++
		return t.Outcome()
	case transport.UnknownTable:
		t.fault = true // dropped meanwhile: no fault of the replica
		return t.Outcome()
	case transport.Overloaded:
		t.overloads++
	case transport.Timeout, transport.Expired:
		t.timeouts++
	case transport.StaleCatalog:
		t.stale++
	}
	t.failures++
	return t.Outcome()
}

// Outcome decides as early as it can: a quorum that is reached stays reached.
func (t *Tracker) Outcome() Outcome {
	switch {
	case t.Acks >= t.Need:
		return Reached
	case t.fault:
		return Refused
	case t.replicas-t.failures < t.Need:
		return Impossible
	}
	return Open
}

// Retry reports whether a newer catalog could decide otherwise: a quorum would
// be possible if the replicas that found the request stale had acknowledged.
func (t *Tracker) Retry() bool {
	return t.stale > 0 && t.Outcome() != Reached
}

// Err explains a quorum that was not reached: open at the deadline, or earlier.
// detail is what a failed replica said.
func (t *Tracker) Err(write bool, table uint32, detail string) error {
	need, acks := int(t.Need), int(t.Acks)
	switch {
	case t.Outcome() == Reached:
		return nil
	case t.fault:
		return &UnknownTableError{Table: table}
	case t.Outcome() == Open || t.timeouts > 0:
		return &TimeoutError{Need: need, Got: acks, Write: write}
	case int(t.overloads) >= need-int(t.replicas-t.failures):
		return &OverloadedError{Detail: detail, RetryAfter: RetryAfter}
	}
	return &UnavailableError{Need: need, Alive: int(t.replicas - t.failures), Sent: true, Detail: detail}
}
