package paxos

// Acceptor is the durable state of a voter. The zero value has promised and
// accepted nothing.
type Acceptor struct {
	Promised Ballot `json:"promised"` // no smaller ballot is answered with yes
	Accepted Ballot `json:"accepted"` // zero: nothing was accepted
	Value    []byte `json:"value"`    // what was accepted
}

// Promise answers a prepare request.
type Promise struct {
	OK       bool   `json:"ok"`
	Promised Ballot `json:"promised"` // what the acceptor holds to now: a refused proposer must outbid it
	Accepted Ballot `json:"accepted"` // with OK: what it accepted last, if anything
	Value    []byte `json:"value,omitempty"`
}

// Accepted answers an accept request.
type Accepted struct {
	OK       bool   `json:"ok"`
	Promised Ballot `json:"promised"` // what the acceptor holds to now
}

// Prepare returns the state after a prepare request and the answer. The ballot must
// be above every one promised: a ballot that was promised before is refused, so a
// proposer that forgot how far it had come cannot use one ballot for two values.
// When the answer is a refusal the state is unchanged.
func (a Acceptor) Prepare(b Ballot) (Acceptor, Promise) {
	if b.Compare(a.Promised) <= 0 {
		return a, Promise{Promised: a.Promised}
	}
	a.Promised = b
	return a, Promise{OK: true, Promised: b, Accepted: a.Accepted, Value: a.Value}
}

// Accept returns the state after an accept request and the answer. The value is
// kept, not copied. When the answer is a refusal the state is unchanged.
func (a Acceptor) Accept(b Ballot, value []byte) (Acceptor, Accepted) {
	if b.IsZero() || b.Compare(a.Promised) < 0 {
		return a, Accepted{Promised: a.Promised}
	}
	return Acceptor{Promised: b, Accepted: b, Value: value}, Accepted{OK: true, Promised: b}
}
