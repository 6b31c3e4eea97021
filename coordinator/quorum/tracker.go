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

// Sides says to which of the two sets of replicas of a changing range a replica
// belongs: those of now, those of the target, or both.
type Sides uint8

// The sides.
const (
	Now Sides = 1 << iota
	Then
)

// Joint counts a write. While its range changes owners, the level must be reached
// among the replicas of now and, separately, among those of the target. It is a
// value, changed by its methods only.
type Joint struct {
	now, then Tracker
	changing  bool
}

// NewJoint begins to count a write of a range that does not change.
func NewJoint(need, alive int) Joint { return Joint{now: NewTracker(need, alive)} }

// Changing adds the count among the replicas of the target.
func (j *Joint) Changing(need, alive int) {
	j.then, j.changing = NewTracker(need, alive), true
}

// Add counts one replica's answer and returns what is known then.
func (j *Joint) Add(code transport.Code, of Sides) Outcome {
	if of&Now != 0 {
		j.now.Add(code)
	}
	if j.changing && of&Then != 0 {
		j.then.Add(code)
	}
	return j.Outcome()
}

// Outcome is reached when it is on both sides, and otherwise the worse of both.
func (j *Joint) Outcome() Outcome {
	a := j.now.Outcome()
	if !j.changing || a == Refused || a == Impossible {
		return a
	}
	if b := j.then.Outcome(); b != Reached {
		return b
	}
	return a
}

// Acks counts the acknowledgements of the side that has fewer of those it needs.
func (j *Joint) Acks() int { return int(j.worse().Acks) }

// Retry is Tracker.Retry of either side.
func (j *Joint) Retry() bool {
	return j.Outcome() != Reached && (j.now.stale > 0 || j.changing && j.then.stale > 0)
}

// Err is Tracker.Err of the side that was not reached.
func (j *Joint) Err(write bool, table uint32, detail string) error {
	return j.worse().Err(write, table, detail)
}

func (j *Joint) worse() *Tracker {
	if j.changing && j.now.Outcome() == Reached {
		return &j.then
	}
	return &j.now
}
