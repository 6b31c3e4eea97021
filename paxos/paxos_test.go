package paxos

import (
	"encoding/json"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

func TestBallotOrder(t *testing.T) {
	a, b := modelID(0), modelID(1)
	rising := []Ballot{{}, {1, a}, {1, b}, {2, a}, {2, b}}
	for i := range rising {
		for j := range rising {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := rising[i].Compare(rising[j]); got != want {
				t.Errorf("%v against %v: %d, want %d", rising[i], rising[j], got, want)
			}
		}
	}
	if next := (Ballot{7, b}).Next(a); next != (Ballot{8, a}) {
		t.Errorf("next is %v", next)
	}
}

func TestAcceptor(t *testing.T) {
	a, b := modelID(0), modelID(1)
	var s Acceptor
	s, p := s.Prepare(Ballot{1, b})
	if !p.OK || !p.Accepted.IsZero() {
		t.Fatalf("first prepare: %+v", p)
	}
	if same, p := s.Prepare(Ballot{1, b}); p.OK || p.Promised != (Ballot{1, b}) || same.Promised != s.Promised {
		t.Fatalf("the same ballot again: %+v", p)
	}
	if _, p := s.Accept(Ballot{1, a}, []byte("low")); p.OK || p.Promised != (Ballot{1, b}) {
		t.Fatalf("accept below the promise: %+v", p)
	}
	if _, p := (Acceptor{}).Accept(Ballot{}, nil); p.OK {
		t.Fatal("the zero ballot was accepted")
	}
	s, got := s.Accept(Ballot{1, b}, []byte("v"))
	if !got.OK {
		t.Fatalf("accept: %+v", got)
	}
	_, p = s.Prepare(Ballot{2, a})
	if !p.OK || p.Accepted != (Ballot{1, b}) || string(p.Value) != "v" {
		t.Fatalf("prepare after accept: %+v", p)
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back Acceptor
	if err := json.Unmarshal(text, &back); err != nil || back.Accepted != s.Accepted || string(back.Value) != "v" {
		t.Fatalf("%s comes back as %+v, %v", text, back, err)
	}
}

func TestProposerNeedsAMajorityOfVoters(t *testing.T) {
	ballot := Ballot{3, modelID(0)}
	p := NewProposer(modelVoters(), ballot, []byte("own"))
	stranger := modelID(9)
	yes := Promise{OK: true, Promised: ballot}
	for _, from := range []uuid.UUID{modelID(0), modelID(0), stranger} {
		if got := p.OnPromise(from, yes); got != Preparing {
			t.Fatalf("after one voter's promises: %v", got)
		}
	}
	if got := p.OnPromise(modelID(1), Promise{OK: true, Promised: Ballot{2, modelID(0)}}); got != Preparing {
		t.Fatalf("an answer to another ballot was counted: %v", got)
	}
	old := Promise{OK: true, Promised: ballot, Accepted: Ballot{1, modelID(2)}, Value: []byte("earlier")}
	if got := p.OnPromise(modelID(2), old); got != Accepting || string(p.Value()) != "earlier" || !p.Inherited() {
		t.Fatalf("after two promises: %v, value %q", got, p.Value())
	}
	refusal := Accepted{Promised: Ballot{5, modelID(1)}}
	if got := p.OnAccepted(modelID(0), refusal); got != Accepting {
		t.Fatalf("one refusal of three ended the ballot: %v", got)
	}
	if got := p.OnAccepted(modelID(1), refusal); got != Refused || p.Highest() != refusal.Promised {
		t.Fatalf("two refusals of three: %v, highest %v", got, p.Highest())
	}
	if got := p.OnAccepted(modelID(2), Accepted{OK: true, Promised: ballot}); got != Refused {
		t.Fatalf("a refused ballot went on: %v", got)
	}
}

// TestRandomSchedulesAgree drives more voters, proposers and ballots than the
// exhaustive model can, along random schedules.
func TestRandomSchedulesAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		voters := rapid.IntRange(1, 7).Draw(t, "voters")
		ids := make([]uuid.UUID, voters)
		for i := range ids {
			ids[i] = modelID(i)
		}
		acceptors := make([]Acceptor, voters)
		type run struct {
			p    *Proposer
			sent bool
		}
		var runs []run
		votes := map[Ballot]map[int]bool{}
		decided := ""
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			if len(runs) == 0 || rapid.IntRange(0, 9).Draw(t, "action") == 0 {
				node := rapid.IntRange(0, 3).Draw(t, "proposer")
				above := Ballot{}
				if len(runs) > 0 {
					above = rapid.SampledFrom(runs).Draw(t, "above").p.Highest()
				}
				ballot := above.Next(modelID(node))
				if _, used := votes[ballot]; used {
					continue // a proposer that keeps its promises durable never reuses one
				}
				votes[ballot] = map[int]bool{}
				runs = append(runs, run{p: NewProposer(ids, ballot, []byte(ballot.String()))})
				continue
			}
			r := &runs[rapid.IntRange(0, len(runs)-1).Draw(t, "run")]
			i := rapid.IntRange(0, voters-1).Draw(t, "acceptor")
			heard := rapid.IntRange(0, 3).Draw(t, "heard") > 0
			if r.sent {
				next, answer := acceptors[i].Accept(r.p.Ballot(), r.p.Value())
				acceptors[i] = next
				if answer.OK {
					votes[r.p.Ballot()][i] = true
				}
				if heard {
					r.p.OnAccepted(ids[i], answer)
				}
			} else {
				next, answer := acceptors[i].Prepare(r.p.Ballot())
				acceptors[i] = next
				if heard && r.p.OnPromise(ids[i], answer) == Accepting {
					r.sent = true
				}
			}
			if 2*len(votes[r.p.Ballot()]) > voters || r.p.Phase() == Decided {
				if decided != "" && decided != string(r.p.Value()) {
					t.Fatalf("%q and %q are both decided", decided, r.p.Value())
				}
				decided = string(r.p.Value())
			}
		}
	})
}
