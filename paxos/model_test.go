package paxos

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/uuid"
)

// The model: three acceptors, two proposers that each want a value of their own
// and may start a few ballots. Every request ever sent can be delivered at any
// later time, any number of times, to any acceptor, and its answer may be lost:
// so loss, repetition, delay and reordering are all in it. Starting a new ballot
// while an old one runs is also what a proposer's crash and restart look like.

const modelAcceptors = 3

// ballotRun is one started ballot: its requests stay deliverable for ever.
type ballotRun struct {
	proposer *Proposer
	owner    int
	current  bool  // answers still reach the proposer
	sent     bool  // accept requests were sent
	accepted uint8 // who accepted, whether or not the answer arrived
}

type model struct {
	acceptors [modelAcceptors]Acceptor
	runs      []*ballotRun
}

func modelID(i int) uuid.UUID { return uuid.UUID{15: byte(i + 1)} }

func modelVoters() []uuid.UUID {
	ids := make([]uuid.UUID, modelAcceptors)
	for i := range ids {
		ids[i] = modelID(i)
	}
	return ids
}

func (m *model) clone() *model {
	c := &model{acceptors: m.acceptors, runs: make([]*ballotRun, len(m.runs), len(m.runs)+1)}
	for i, r := range m.runs {
		p, run := *r.proposer, *r
		p.yes = slices.Clone(p.yes)
		run.proposer = &p
		c.runs[i] = &run
	}
	return c
}

// key identifies a state. Acceptors are alike: a state and its mirror images
// have one key, the smallest over all orders of the acceptors.
func (m *model) key() string {
	best := ""
	for _, order := range [][modelAcceptors]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		if key := m.keyIn(order); best == "" || key < best {
			best = key
		}
	}
	return best
}

func (m *model) keyIn(order [modelAcceptors]int) string {
	buf := make([]byte, 0, 128)
	for _, i := range order {
		a := m.acceptors[i]
		buf = append(buf, byte(a.Promised.Round), a.Promised.Node[15], byte(a.Accepted.Round), a.Accepted.Node[15])
		buf = append(append(buf, a.Value...), '|')
	}
	for _, r := range m.runs {
		p := r.proposer
		sent := byte(0)
		if r.sent {
			sent = 1
		}
		buf = append(buf, byte(r.owner), sent, byte(p.ballot.Round))
		for _, i := range order {
			votes := r.accepted >> i & 1
			if r.current {
				votes |= 8
				if slices.Contains(p.yes, modelID(i)) {
					votes |= 2
				}
			}
			buf = append(buf, votes)
		}
		if r.current {
			buf = append(buf, byte(p.phase), byte(p.inherits.Round), p.inherits.Node[15])
		}
		if !r.current && !r.sent {
			continue // its value will never be seen
		}
		buf = append(append(buf, p.value...), '|')
	}
	return string(buf)
}

// explorer walks every reachable state once.
type explorer struct {
	ballots   [2]int // how many each proposer may start
	rounds    uint64 // the largest round
	reuse     bool   // a proposer may use a round again, as one that forgot its ballots
	forget    bool   // acceptors may lose their state
	seen      map[string]struct{}
	decided   map[string]int // states in which a value is decided
	violation string
}

func (e *explorer) visit(m *model) {
	if e.violation != "" {
		return
	}
	key := m.key()
	if _, ok := e.seen[key]; ok {
		return
	}
	e.seen[key] = struct{}{}
	e.check(m)
	for owner := range e.ballots {
		for _, round := range e.nextRounds(m, owner) {
			e.visit(m.start(owner, round))
		}
	}
	for run := range m.runs {
		for a := range m.acceptors {
			for _, lost := range []bool{false, true} {
				for _, phase := range []Phase{Preparing, Accepting} {
					if next := m.deliver(run, a, phase, lost); next != nil {
						e.visit(next)
					}
				}
			}
		}
	}
	if e.forget {
		for a := range m.acceptors {
			next := m.clone()
			next.acceptors[a] = Acceptor{}
			e.visit(next)
		}
	}
}

// nextRounds lists the rounds that a proposer may go on with: any above its last,
// since what it learns of others' ballots depends on messages.
func (e *explorer) nextRounds(m *model, owner int) (rounds []uint64) {
	last, started := uint64(0), 0
	for _, r := range m.runs {
		if r.owner == owner {
			last, started = r.proposer.ballot.Round, started+1
		}
	}
	if started == e.ballots[owner] {
		return nil
	}
	first := last + 1
	if e.reuse {
		first = max(last, 1)
	}
	for round := first; round <= e.rounds; round++ {
		rounds = append(rounds, round)
	}
	return rounds
}

// check fails when two ballots were accepted by majorities with different values.
func (e *explorer) check(m *model) {
	var value string
	for _, r := range m.runs {
		n := 0
		for a := range modelAcceptors {
			n += int(r.accepted >> a & 1)
		}
		if 2*n <= modelAcceptors {
			if r.proposer.phase == Decided {
				e.violation = "a proposer believes in a decision that no majority took"
			}
			continue
		}
		v := string(r.proposer.value)
		if value != "" && v != value {
			e.violation = fmt.Sprintf("%q and %q are both decided", value, v)
		}
		value = v
		e.decided[v]++
	}
}

// start lets a proposer begin a ballot and give up its previous one.
func (m *model) start(owner int, round uint64) *model {
	next := m.clone()
	for _, r := range next.runs {
		if r.owner == owner {
			r.current = false
		}
	}
	p := NewProposer(modelVoters(), Ballot{Round: round, Node: modelID(owner)}, []byte{'x' + byte(owner)})
	next.runs = append(next.runs, &ballotRun{proposer: p, owner: owner, current: true})
	return next
}

// deliver hands a ballot's request of a phase to an acceptor. It returns nil when
// that changes nothing. Refusals are not handed to the proposer: all they do is end
// its ballot, which start does too.
func (m *model) deliver(run, acceptor int, phase Phase, lost bool) *model {
	r := m.runs[run]
	if (phase == Accepting && !r.sent) || (lost && !r.current) {
		return nil
	}
	before := m.acceptors[acceptor]
	if phase == Preparing {
		after, promise := before.Prepare(r.proposer.ballot)
		if !promise.OK {
			return nil
		}
		next := m.clone()
		next.acceptors[acceptor] = after
		if r := next.runs[run]; !lost && r.current {
			r.sent = r.proposer.OnPromise(modelID(acceptor), promise) == Accepting || r.sent
		}
		return next
	}
	after, accepted := before.Accept(r.proposer.ballot, r.proposer.value)
	if !accepted.OK {
		return nil
	}
	next := m.clone()
	next.acceptors[acceptor] = after
	next.runs[run].accepted |= 1 << acceptor
	if r := next.runs[run]; !lost && r.current {
		r.proposer.OnAccepted(modelID(acceptor), accepted)
	}
	return next
}

func explore(t *testing.T, e explorer) explorer {
	t.Helper()
	e.seen, e.decided = map[string]struct{}{}, map[string]int{}
	e.visit(&model{})
	t.Logf("%d states, decided %v", len(e.seen), e.decided)
	return e
}

func TestEveryInterleavingAgrees(t *testing.T) {
	e := explore(t, explorer{ballots: [2]int{2, 1}, rounds: 2})
	if e.violation != "" {
		t.Fatal(e.violation)
	}
	if e.decided["x"] == 0 || e.decided["y"] == 0 {
		t.Fatalf("decided %v: the model should reach both values", e.decided)
	}
}

// A proposer that restarts and reuses a ballot for the same round must not harm.
func TestReusedBallotsAgree(t *testing.T) {
	if e := explore(t, explorer{ballots: [2]int{2, 1}, rounds: 2, reuse: true}); e.violation != "" {
		t.Fatal(e.violation)
	}
}

// An acceptor that forgets breaks agreement: the model would see it.
func TestModelSeesForgetfulAcceptors(t *testing.T) {
	if e := explore(t, explorer{ballots: [2]int{2, 1}, rounds: 2, forget: true}); e.violation == "" {
		t.Fatal("acceptors that forget were not noticed: the model checks nothing")
	}
}
