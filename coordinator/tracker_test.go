package coordinator

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
		outcomes    []outcome // after each code
		err         error
		retry       bool
	}{
		{"one of three", 1, 3, []transport.Code{ok, failed, failed}, []outcome{reached, reached, reached}, nil, false},
		{"quorum", 2, 3, []transport.Code{ok, ok}, []outcome{open, reached}, nil, false},
		{"quorum with a failure", 2, 3, []transport.Code{failed, ok, ok}, []outcome{open, open, reached}, nil, false},
		{"all", 3, 3, []transport.Code{ok, ok, ok}, []outcome{open, open, reached}, nil, false},
		{"impossible early", 2, 3, []transport.Code{failed, gone}, []outcome{open, impossible},
			&UnavailableError{Need: 2, Alive: 1, Sent: true}, false},
		{"all with one failure", 3, 3, []transport.Code{ok, failed}, []outcome{open, impossible},
			&UnavailableError{Need: 3, Alive: 2, Sent: true}, false},
		{"only two alive, one fails", 2, 2, []transport.Code{ok, gone}, []outcome{open, impossible},
			&UnavailableError{Need: 2, Alive: 1, Sent: true}, false},
		{"late acknowledgement does not change the outcome", 3, 3, []transport.Code{failed, ok, ok}, []outcome{impossible, impossible, impossible},
			&UnavailableError{Need: 3, Alive: 2, Sent: true}, false},
		{"overloaded", 2, 3, []transport.Code{busy, busy}, []outcome{open, impossible},
			&OverloadedError{RetryAfter: retryAfter}, false},
		{"one overloaded, one failed: the overload decides", 2, 3, []transport.Code{failed, busy}, []outcome{open, impossible},
			&OverloadedError{RetryAfter: retryAfter}, false},
		{"one overloaded, two failed: not only the overload", 2, 3, []transport.Code{failed, gone, busy}, []outcome{open, impossible, impossible},
			&UnavailableError{Need: 2, Alive: 0, Sent: true}, false},
		{"timeouts", 2, 3, []transport.Code{ok, late, late}, []outcome{open, open, impossible},
			&TimeoutError{Need: 2, Got: 1, Write: true}, false},
		{"expired on arrival", 2, 2, []transport.Code{transport.Expired}, []outcome{impossible},
			&TimeoutError{Need: 2, Got: 0, Write: true}, false},
		{"undecided at the deadline", 2, 3, []transport.Code{ok}, []outcome{open},
			&TimeoutError{Need: 2, Got: 1, Write: true}, false},
		{"dropped table is the request's fault", 2, 3, []transport.Code{dropped}, []outcome{refused},
			&UnknownTableError{Table: 7}, false},
		{"dropped table after the quorum", 2, 3, []transport.Code{ok, ok, dropped}, []outcome{open, reached, reached}, nil, false},
		{"stale everywhere", 2, 3, []transport.Code{stale, stale}, []outcome{open, impossible},
			&UnavailableError{Need: 2, Alive: 1, Sent: true}, true},
		{"stale at one, but reached", 2, 3, []transport.Code{stale, ok, ok}, []outcome{open, open, reached}, nil, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tracker := newTracker(test.need, test.alive)
			for i, code := range test.codes {
				if got := tracker.add(code); got != test.outcomes[i] {
					t.Fatalf("after %v: outcome %d, want %d", test.codes[:i+1], got, test.outcomes[i])
				}
			}
			if err := tracker.err(true, 7, ""); !reflect.DeepEqual(err, test.err) {
				t.Errorf("error %v, want %v", err, test.err)
			}
			if got := tracker.retry(); got != test.retry {
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
				tracker, acks, decided := newTracker(need, replicas), 0, open
				for i := range replicas {
					code := transport.Failed
					if mask>>i&1 == 1 {
						code = transport.OK
						acks++
					}
					got := tracker.add(code)
					if decided != open && got != decided {
						t.Fatalf("need %d of %d, answers %b: outcome changed from %d to %d", need, replicas, mask, decided, got)
					}
					decided = got
				}
				if want := acks >= need; (decided == reached) != want || decided == open {
					t.Fatalf("need %d of %d, answers %b: outcome %d", need, replicas, mask, decided)
				}
			}
		}
	}
}
