package sim

import (
	"strings"
	"testing"
	"time"
)

// op builds an operation of register or stream "k": its kind, value, timestamp,
// call and return in milliseconds, and result.
func op(kind OpKind, value string, timestamp int64, call, ret int, result Result) Op {
	return Op{Kind: kind, Key: "k", Value: value, Timestamp: timestamp, Result: result,
		Call: time.Duration(call) * time.Millisecond, Return: time.Duration(ret) * time.Millisecond,
		Present: kind == Get && value != "", Final: false}
}

func list(call, ret int, values ...string) Op {
	o := op(List, "", 0, call, ret, OK)
	o.Values = values
	return o
}

func atOne(o Op) Op {
	o.Level = "one"
	return o
}

func stamped(o Op) Op {
	o.Stamped = true
	return o
}

func brief(o Op) Op {
	o.TTL = 50 * time.Second
	return o
}

func final(o Op) Op {
	o.Final = true
	return o
}

func TestCheckersOnPlantedHistories(t *testing.T) {
	for _, c := range []struct {
		name string
		ops  []Op
		want string // the broken promise, "" for none
	}{
		{"write then read", []Op{op(Put, "a", 1, 0, 1, OK), op(Get, "a", 1, 2, 3, OK)}, ""},
		{"nothing written", []Op{op(Get, "", 0, 2, 3, OK)}, ""},
		{"lost", []Op{op(Put, "a", 1, 0, 1, OK), op(Get, "", 0, 2, 3, OK)}, NothingLost},
		{"overwritten value comes back", []Op{op(Put, "a", 1, 0, 1, OK), op(Put, "b", 2, 2, 3, OK), op(Get, "a", 1, 4, 5, OK)}, NothingLost},
		{"an older timestamp loses", []Op{op(Put, "a", 2, 0, 1, OK), op(Put, "b", 1, 2, 3, OK), op(Get, "a", 2, 4, 5, OK)}, ""},
		{"an older timestamp wins", []Op{op(Put, "a", 2, 0, 1, OK), op(Put, "b", 1, 2, 3, OK), op(Get, "b", 1, 4, 5, OK)}, NothingLost},
		{"equal timestamps: larger value", []Op{op(Put, "b", 1, 0, 1, OK), op(Put, "a", 1, 2, 3, OK), op(Get, "b", 1, 4, 5, OK)}, ""},
		{"equal timestamps: smaller value", []Op{op(Put, "b", 1, 0, 1, OK), op(Put, "a", 1, 2, 3, OK), op(Get, "a", 1, 4, 5, OK)}, NothingLost},
		{"concurrent write may be seen", []Op{op(Put, "a", 1, 0, 1, OK), op(Put, "b", 2, 2, 9, OK), op(Get, "b", 2, 4, 5, OK)}, ""},
		{"concurrent write may be missed", []Op{op(Put, "a", 1, 0, 1, OK), op(Put, "b", 2, 2, 9, OK), op(Get, "a", 1, 4, 5, OK)}, ""},
		{"acknowledged during the read", []Op{op(Put, "a", 1, 0, 3, OK), op(Get, "", 0, 2, 5, OK)}, ""},
		{"unknown write seen", []Op{op(Put, "a", 1, 0, 1, OK), op(Put, "b", 2, 2, 3, Unknown), op(Get, "b", 2, 9, 10, OK)}, ""},
		{"unknown write missed", []Op{op(Put, "a", 1, 0, 1, OK), op(Put, "b", 2, 2, 3, Unknown), op(Get, "a", 1, 9, 10, OK)}, ""},
		{"unknown older write does not excuse", []Op{op(Put, "a", 2, 0, 1, OK), op(Put, "b", 1, 2, 3, Unknown), op(Get, "b", 1, 9, 10, OK)}, NothingLost},
		{"refused write seen", []Op{op(Put, "a", 1, 0, 1, Refused), op(Get, "a", 1, 2, 3, OK)}, NothingMadeUp},
		{"nobody wrote it", []Op{op(Get, "ghost", 1, 2, 3, OK)}, NothingMadeUp},
		{"read from the future", []Op{op(Get, "a", 1, 2, 3, OK), op(Put, "a", 1, 4, 5, OK)}, NothingMadeUp},
		{"timestamp altered", []Op{op(Put, "a", 1, 0, 1, OK), op(Get, "a", 7, 2, 3, OK)}, NothingMadeUp},
		{"deleted", []Op{op(Put, "a", 1, 0, 1, OK), op(Delete, "", 2, 2, 3, OK), op(Get, "", 0, 4, 5, OK)}, ""},
		{"delete lost", []Op{op(Put, "a", 1, 0, 1, OK), op(Delete, "", 2, 2, 3, OK), op(Get, "a", 1, 4, 5, OK)}, NothingBack},
		{"delete wins a tie", []Op{op(Put, "a", 1, 0, 1, OK), op(Delete, "", 1, 2, 3, OK), op(Get, "", 0, 4, 5, OK)}, ""},
		{"delete loses a tie", []Op{op(Delete, "", 1, 0, 1, OK), op(Put, "a", 1, 2, 3, OK), op(Get, "a", 1, 4, 5, OK)}, NothingBack},
		{"unknown delete hides", []Op{op(Put, "a", 1, 0, 1, OK), op(Delete, "", 2, 2, 3, Unknown), op(Get, "", 0, 4, 5, OK)}, ""},
		{"older unknown delete hides nothing", []Op{op(Put, "a", 2, 0, 1, OK), op(Delete, "", 1, 2, 3, Unknown), op(Get, "", 0, 4, 5, OK)}, NothingLost},
		{"refused delete hides nothing", []Op{op(Put, "a", 1, 0, 1, OK), op(Delete, "", 2, 2, 3, Refused), op(Get, "", 0, 4, 5, OK)}, NothingLost},
		{"later delete hides nothing", []Op{op(Put, "a", 1, 0, 1, OK), op(Get, "", 0, 4, 5, OK), op(Delete, "", 2, 6, 7, OK)}, NothingLost},
		{"failed read says nothing", []Op{op(Put, "a", 1, 0, 1, OK), op(Get, "", 0, 2, 3, Unknown)}, ""},
		{"converged", []Op{op(Put, "a", 1, 0, 1, OK), final(op(Get, "a", 1, 2, 3, OK)), final(op(Get, "a", 1, 4, 5, OK))}, ""},
		{"diverged", []Op{op(Put, "a", 1, 0, 1, Unknown), final(op(Get, "a", 1, 2, 3, OK)), final(op(Get, "", 0, 4, 5, OK))}, Converged},
		{"events", []Op{op(Append, "a", 0, 0, 1, OK), op(Append, "b", 0, 0, 1, Unknown), list(2, 3, "a"), list(4, 5, "a", "b")}, ""},
		{"event lost", []Op{op(Append, "a", 0, 0, 1, OK), op(Append, "b", 0, 0, 1, OK), list(2, 3, "b")}, NothingLost},
		{"event twice", []Op{op(Append, "a", 0, 0, 1, OK), list(2, 3, "a", "a")}, NothingMadeUp},
		{"event of nobody", []Op{list(2, 3, "a")}, NothingMadeUp},
		{"refused event", []Op{op(Append, "a", 0, 0, 1, Refused), list(2, 3, "a")}, NothingMadeUp},
		{"event from the future", []Op{list(2, 3, "a"), op(Append, "a", 0, 4, 5, OK)}, NothingMadeUp},
		{"streams diverged", []Op{op(Append, "a", 0, 0, 1, Unknown), final(list(2, 3, "a")), final(list(2, 3))}, Converged},
		{"events in another order", []Op{op(Append, "a", 0, 0, 1, OK), op(Append, "b", 0, 0, 1, OK), final(list(2, 3, "a", "b")), final(list(2, 3, "b", "a"))}, Converged},
		{"unknown server-stamped write seen", []Op{op(Put, "a", 5, 0, 1, OK), op(Put, "b", 0, 2, 3, Unknown), op(Get, "b", 6, 9, 10, OK)}, ""},
		{"unknown server-stamped write seen too late", []Op{op(Put, "a", 5, 0, 1, OK), op(Put, "b", 0, 2, 3, Unknown), op(Get, "b", 4, 9, 10, OK)}, NothingLost},
		{"unknown server-stamped delete hides", []Op{op(Put, "a", 5, 0, 1, OK), op(Delete, "", 0, 2, 3, Unknown), op(Get, "", 0, 9, 10, OK)}, ""},
		{"an unknown write is unseen", []Op{op(Put, "a", 1, 0, 1, OK), op(Put, "b", 2, 2, 3, Unknown), op(Get, "b", 2, 4, 5, OK), op(Get, "a", 1, 6, 7, OK)}, Monotonic},
		{"an unknown write is unseen at one", []Op{op(Put, "a", 1, 0, 1, OK), op(Put, "b", 2, 2, 3, Unknown), op(Get, "b", 2, 4, 5, OK), atOne(op(Get, "a", 1, 6, 7, OK))}, ""},
		{"an unknown write is seen by one of two reads", []Op{op(Put, "a", 1, 0, 1, OK), op(Put, "b", 2, 2, 3, Unknown), op(Get, "b", 2, 4, 9, OK), op(Get, "a", 1, 6, 7, OK)}, ""},
		{"an unknown first write is unseen", []Op{op(Put, "b", 2, 2, 3, Unknown), op(Get, "b", 2, 4, 5, OK), op(Get, "", 0, 6, 7, OK)}, Monotonic},
		{"an unknown first write is deleted", []Op{op(Put, "b", 2, 2, 3, Unknown), op(Get, "b", 2, 4, 5, OK), op(Delete, "", 0, 5, 9, Unknown), op(Get, "", 0, 6, 7, OK)}, ""},
		{"an unknown event is unseen", []Op{op(Append, "a", 0, 0, 1, Unknown), list(2, 3, "a"), list(4, 5)}, Monotonic},
		{"an unknown event is seen by one of two reads", []Op{op(Append, "a", 0, 0, 1, Unknown), list(2, 5, "a"), list(4, 6)}, ""},
		{"expired", []Op{brief(op(Put, "a", 1, 0, 1, OK)), op(Get, "", 0, 70_000, 70_001, OK)}, ""},
		{"expired too early", []Op{brief(op(Put, "a", 1, 0, 1, OK)), op(Get, "", 0, 10_000, 10_001, OK)}, NothingLost},
		{"not expired", []Op{brief(op(Put, "a", 1, 0, 1, OK)), op(Get, "a", 1, 90_000, 90_001, OK)}, NothingBack},
		{"an older value comes back after an expiry", []Op{op(Put, "a", 1, 0, 1, OK), brief(op(Put, "b", 2, 2, 3, OK)), op(Get, "a", 1, 90_000, 90_001, OK)}, NothingBack},
		{"an unknown write has expired", []Op{op(Put, "a", 1, 0, 1, OK), brief(op(Put, "b", 2, 2, 3, Unknown)), op(Get, "", 0, 90_000, 90_001, OK)}, ""},
		{"cleared", []Op{op(Append, "a", 1, 0, 1, OK), op(Clear, "", 2, 2, 3, OK), op(Append, "b", 3, 4, 5, OK), list(6, 7, "b")}, ""},
		{"cleared event comes back", []Op{op(Append, "a", 1, 0, 1, OK), op(Clear, "", 2, 2, 3, OK), list(6, 7, "a")}, NothingBack},
		{"an unknown clear hides", []Op{op(Append, "a", 1, 0, 1, OK), op(Clear, "", 0, 2, 3, Unknown), list(6, 7)}, ""},
		{"a clear hides no later event", []Op{op(Append, "a", 3, 0, 1, OK), op(Clear, "", 2, 2, 3, OK), list(6, 7)}, NothingLost},
		{"session in order", []Op{stamped(op(Put, "a", 5, 0, 1, OK)), stamped(op(Put, "b", 6, 2, 3, OK))}, ""},
		{"session out of order", []Op{stamped(op(Put, "a", 5, 0, 1, OK)), stamped(op(Put, "b", 5, 2, 3, OK))}, SessionOrder},
		{"broken answer", []Op{{Kind: Get, Key: "k", Problem: "no timestamp"}}, Contract},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := Check(c.ops)
			switch {
			case c.want == "" && len(found) > 0:
				t.Errorf("a sound history is condemned: %v", found)
			case c.want != "" && (len(found) == 0 || !strings.HasPrefix(found[0].String(), c.want)):
				t.Errorf("found %v, want %q", found, c.want)
			}
		})
	}
}
