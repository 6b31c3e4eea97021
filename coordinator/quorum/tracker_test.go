package quorum

import (
	"reflect"
	"testing"

	"github.com/dunlindb/dunlin/transport"
)

func TestTracker(t *testing.T) {
	const (
		ok, failed, late, busy = transport.OK, transport.Failed, transport.Timeout, transport.Overloaded
		stale, dropped, gone   = transport.StaleCatalog, transport.UnknownTable, transport.Unreachable
	)
	tests := []struct {
		name        string
		need, alive int
		codes       []transport.Code
		outcomes    []Outcome // after each code
		err         error
		retry       bool
	}{
		{"one of three", 1, 3, []transport.Code{ok, failed, failed}, []Outcome{Reached, Reached, Reached}, nil, false},
		{"quorum", 2, 3, []transport.Code{ok, ok}, []Outcome{Open, Reached}, nil, false},
		{"quorum with a failure", 2, 3, []transport.Code{failed, ok, ok}, []Outcome{Open, Open, Reached}, nil, false},
		{"all", 3, 3, []transport.Code{ok, ok, ok}, []Outcome{Open, Open, Reached}, nil, false},
		{"impossible early", 2, 3, []transport.Code{failed, gone}, []Outcome{Open, Impossible},
			&UnavailableError{Need: 2, Alive: 1, Sent: true}, false},
		{"all with one failure", 3, 3, []transport.Code{ok, failed}, []Outcome{Open, Impossible},
			&UnavailableError{Need: 3, Alive: 2, Sent: true}, false},
		{"only two alive, one fails", 2, 2, []transport.Code{ok, gone}, []Outcome{Open, Impossible},
			&UnavailableError{Need: 2, Alive: 1, Sent: true}, false},
		{"late acknowledgement does not change the outcome", 3, 3, []transport.Code{failed, ok, ok}, []Outcome{Impossible, Impossible, Impossible},
			&UnavailableError{Need: 3, Alive: 2, Sent: true}, false},
		{"overloaded", 2, 3, []transport.Code{busy, busy}, []Outcome{Open, Impossible},
			&OverloadedError{RetryAfter: RetryAfter}, false},
		{"one overloaded, one failed: the overload decides", 2, 3, []transport.Code{failed, busy}, []Outcome{Open, Impossible},
			&OverloadedError{RetryAfter: RetryAfter}, false},
		{"one overloaded, two failed: not only the overload", 2, 3, []transport.Code{failed, gone, busy}, []Outcome{Open, Impossible, Impossible},
			&UnavailableError{Need: 2, Alive: 0, Sent: true}, false},
		{"timeouts", 2, 3, []transport.Code{ok, late, late}, []Outcome{Open, Open, Impossible},
			&TimeoutError{Need: 2, Got: 1, Write: true}, false},
		{"expired on arrival", 2, 2, []transport.Code{transport.Expired}, []Outcome{Impossible},
			&TimeoutError{Need: 2, Got: 0, Write: true}, false},
		{"undecided at the deadline", 2, 3, []transport.Code{ok}, []Outcome{Open},
			&TimeoutError{Need: 2, Got: 1, Write: true}, false},
		{"dropped table is the request's fault", 2, 3, []transport.Code{dropped}, []Outcome{Refused},
			&UnknownTableError{Table: 7}, false},
		{"dropped table after the quorum", 2, 3, []transport.Code{ok, ok, dropped}, []Outcome{Open, Reached, Reached}, nil, false},
		{"stale everywhere", 2, 3, []transport.Code{stale, stale}, []Outcome{Open, Impossible},
			&UnavailableError{Need: 2, Alive: 1, Sent: true}, true},
		{"stale at one, but reached", 2, 3, []transport.Code{stale, ok, ok}, []Outcome{Open, Open, Reached}, nil, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tracker := NewTracker(test.need, test.alive)
			for i, code := range test.codes {
				if got := tracker.Add(code); got != test.outcomes[i] {
					t.Fatalf("after %v: outcome %d, want %d", test.codes[:i+1], got, test.outcomes[i])
				}
			}
			if err := tracker.Err(true, 7, ""); !reflect.DeepEqual(err, test.err) {
				t.Errorf("error %v, want %v", err, test.err)
			}
			if got := tracker.Retry(); got != test.retry {
				t.Errorf("retry %t, want %t", got, test.retry)
			}
		})
	}
}

// TestTrackerDecidesOnce: whatever the order of answers, the outcome changes once
// at most, and is reached exactly if enough acknowledged and nothing else decided.
func TestTrackerDecidesOnce(t *testing.T) {
	for replicas := 1; replicas <= 5; replicas++ {
		for need := 1; need <= replicas; need++ {
			for mask := range 1 << replicas {
				tracker, acks, decided := NewTracker(need, replicas), 0, Open
				for i := range replicas {
					code := transport.Failed
					if mask>>i&1 == 1 {
						code = transport.OK
						acks++
					}
					got := tracker.Add(code)
					if decided != Open && got != decided {
						t.Fatalf("need %d of %d, answers %b: outcome changed from %d to %d", need, replicas, mask, decided, got)
					}
					decided = got
				}
				if want := acks >= need; (decided == Reached) != want || decided == Open {
					t.Fatalf("need %d of %d, answers %b: outcome %d", need, replicas, mask, decided)
				}
			}
		}
	}
}
