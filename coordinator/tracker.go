package coordinator

import "github.com/dunlindb/dunlin/transport"

// outcome is what is known of a quorum.
type outcome uint8

const (
	open       outcome = iota // not decided yet
	reached                   // as many acknowledgements as needed
	impossible                // too many failed: it cannot be reached any more
	refused                   // the request itself is at fault
)

// tracker counts a quorum: a value, changed by its methods only.
type tracker struct {
	need, replicas uint8 // replicas counts those that may still answer at the start
	acks           uint8
	failures       uint8 // failed for whatever reason, the following included
	overloads      uint8
	timeouts       uint8
	stale          uint8
	fault          bool // a replica found the request at fault
}

// newTracker begins to count. alive replicas were asked, need must acknowledge.
func newTracker(need, alive int) tracker {
	return tracker{need: uint8(need), replicas: uint8(alive)}
}

// add counts one replica's answer and returns what is known then.
func (t *tracker) add(code transport.Code) outcome {
	switch code {
	case transport.OK:
		t.acks++
		return t.outcome()
	case transport.UnknownTable:
		t.fault = true // dropped meanwhile: no fault of the replica
		return t.outcome()
	case transport.Overloaded:
		t.overloads++
	case transport.Timeout, transport.Expired:
		t.timeouts++
	case transport.StaleCatalog:
		t.stale++
	}
	t.failures++
	return t.outcome()
}

// outcome decides as early as it can: a quorum that is reached stays reached.
func (t *tracker) outcome() outcome {
	switch {
	case t.acks >= t.need:
		return reached
	case t.fault:
		return refused
	case t.replicas-t.failures < t.need:
		return impossible
	}
	return open
}

// retry reports whether a newer catalog could decide otherwise: a quorum would
// be possible if the replicas that found the request stale had acknowledged.
func (t *tracker) retry() bool {
	return t.stale > 0 && t.outcome() != reached
}

// err explains a quorum that was not reached: open at the deadline, or earlier.
// detail is what a failed replica said.
func (t *tracker) err(write bool, table uint32, detail string) error {
	need, acks := int(t.need), int(t.acks)
	switch {
	case t.outcome() == reached:
		return nil
	case t.fault:
		return &UnknownTableError{Table: table}
	case t.outcome() == open || t.timeouts > 0:
		return &TimeoutError{Need: need, Got: acks, Write: write}
	case int(t.overloads) >= need-int(t.replicas-t.failures):
		return &OverloadedError{Detail: detail, RetryAfter: retryAfter}
	}
	return &UnavailableError{Need: need, Alive: int(t.replicas - t.failures), Sent: true, Detail: detail}
}
