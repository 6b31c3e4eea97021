package sim

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// The promises that the checkers know.
const (
	NothingLost   = "no acknowledged write is lost"
	NothingMadeUp = "only what was written is read"
	Converged     = "merged reads converge"
	SessionOrder  = "a client's writes are stamped in order"
	Contract      = "answers keep the contract"
	ReplicasEqual = "replicas become equal by themselves"
	Monotonic     = "quorum reads never go back"
	NothingBack   = "nothing deleted or expired comes back"
	HintsDrained  = "hints are replayed by themselves"
	LayoutsAgree  = "versions of the catalog form one chain, and no range has too few replicas"
	LayoutSettles = "changes of the layout end, and what moved away is gone"
)

// Check judges a whole history. Every read in it must be at a level that
// overlaps with its key's writes (R+W > N), or Final.
func Check(ops []Op) []Violation {
	registers, streams := make(map[string][]Op), make(map[string][]Op)
	var found []Violation
	for _, o := range ops {
		switch {
		case o.Problem != "":
			found = append(found, Violation{Contract, o.Key, o.Problem + ": " + o.String()})
		case o.Kind == Append || o.Kind == List || o.Kind == Clear:
			streams[o.Key] = append(streams[o.Key], o)
		default:
			registers[o.Key] = append(registers[o.Key], o)
		}
	}
	found = append(found, CheckSessions(ops)...)
	for _, key := range sortedKeys(registers) {
		found = append(found, CheckRegister(key, registers[key])...)
	}
	for _, key := range sortedKeys(streams) {
		found = append(found, CheckStream(key, streams[key])...)
	}
	return found
}

func sortedKeys(m map[string][]Op) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// newer orders two writes of one register as replicas merge them: the larger
// timestamp, then a delete over a value, then one that expires over one that does not,
// and the one that lives longer, then the larger value; 0 if that cannot be told.
func newer(a, b *Op) int {
	if c := cmp.Compare(a.Timestamp, b.Timestamp); c != 0 {
		return c
	}
	if (a.Kind == Delete) != (b.Kind == Delete) {
		if a.Kind == Delete {
			return 1
		}
		return -1
	}
	if a.TTL > 0 || b.TTL > 0 {
		return cmp.Compare(a.TTL, b.TTL) // of equal ones, the hashes of their values decide
	}
	return cmp.Compare(a.Value, b.Value)
}

// acknowledged is the newest write among those acknowledged up to a time.
type acknowledged struct {
	ops []*Op // acknowledged writes by Return; each replaced by the newest so far
	at  []int64
}

func newAcknowledged(writes []*Op) acknowledged {
	var a acknowledged
	for _, w := range writes {
		if w.Result == OK {
			a.ops = append(a.ops, w)
		}
	}
	slices.SortStableFunc(a.ops, func(x, y *Op) int { return cmp.Compare(x.Return, y.Return) })
	for i, w := range a.ops {
		a.at = append(a.at, int64(w.Return))
		if i > 0 && newer(a.ops[i-1], w) > 0 {
			a.ops[i] = a.ops[i-1]
		}
	}
	return a
}

// before returns the newest write acknowledged before a read was called.
func (a acknowledged) before(read *Op) *Op {
	n, _ := slices.BinarySearch(a.at, int64(read.Call))
	if n == 0 {
		return nil
	}
	return a.ops[n-1]
}

// CheckRegister judges the operations of one register. A read must return the
// newest write acknowledged before it began, or a newer one that had begun.
func CheckRegister(key string, ops []Op) []Violation {
	var writes, reads []*Op
	byValue := make(map[string]*Op)
	for i := range ops {
		o := &ops[i]
		switch o.Kind {
		case Put, Delete:
			writes = append(writes, o)
			if o.Kind == Put {
				byValue[o.Value] = o
			}
		case Get:
			if o.Result == OK {
				reads = append(reads, o)
			}
		}
	}
	acked := newAcknowledged(writes)
	var found []Violation
	for _, r := range reads {
		if v := checkRead(key, r, acked.before(r), byValue, writes); v != nil {
			found = append(found, *v)
		}
	}
	found = append(found, checkConverged(key, reads)...)
	return append(found, checkMonotonic(key, reads, writes)...)
}

// checkMonotonic compares reads that follow each other, whoever made them: what
// one read at quorum or all has shown, acknowledged or not, no later one unsees.
// That takes read repair: an unacknowledged write may be on one replica alone.
func checkMonotonic(key string, reads, writes []*Op) []Violation {
	byReturn := slices.Clone(reads)
	slices.SortStableFunc(byReturn, func(a, b *Op) int { return cmp.Compare(a.Return, b.Return) })
	var ended []*Op // reads of a majority that have shown something, each the newest up to then
	var at []int64
	for _, r := range byReturn {
		if r.Level == "one" || !r.Present {
			continue
		}
		if n := len(ended); n > 0 && ended[n-1].Timestamp > r.Timestamp {
			continue
		}
		ended, at = append(ended, r), append(at, int64(r.Return))
	}
	for _, r := range reads {
		n, _ := slices.BinarySearch(at, int64(r.Call))
		if r.Level == "one" || n == 0 {
			continue
		}
		before := ended[n-1]
		switch {
		case r.Present && r.Timestamp < before.Timestamp:
			return []Violation{{Monotonic, key, fmt.Sprintf("%v came after %v", r, before)}}
		case !r.Present && !deletable(r, before, writes):
			return []Violation{{Monotonic, key, fmt.Sprintf("%v found nothing, after %v", r, before)}}
		}
	}
	return nil
}

// deletable reports whether a delete, or a value that has expired, may have hidden
// what a read has shown from a later one.
func deletable(r, before *Op, writes []*Op) bool {
	return slices.ContainsFunc(writes, func(w *Op) bool {
		return mayHide(w, r) && (w.Timestamp == 0 || w.Timestamp >= before.Timestamp)
	})
}

// expirySkew is how far apart clocks may be that set and that look at an expiry.
const expirySkew = 20 * time.Second

// mayHide reports whether a write may hide older ones from a read: a delete that may
// have happened, or a value that may have expired.
func mayHide(w, r *Op) bool {
	gone := w.Kind == Delete || w.TTL > 0 && w.Call+w.TTL-expirySkew <= r.Return
	return gone && w.Result != Refused && w.Call <= r.Return
}

func checkRead(key string, r, floor *Op, byValue map[string]*Op, writes []*Op) *Violation {
	if !r.Present {
		if floor == nil || floor.Kind == Delete || mayHide(floor, r) || hidden(r, floor, writes) {
			return nil
		}
		return &Violation{NothingLost, key, fmt.Sprintf("%v found nothing, after %v", r, floor)}
	}
	w := byValue[r.Value]
	switch {
	case w == nil:
		return &Violation{NothingMadeUp, key, fmt.Sprintf("%v: nobody wrote that", r)}
	case w.Result == Refused:
		return &Violation{NothingMadeUp, key, fmt.Sprintf("%v shows a refused write: %v (%s)", r, w, w.Detail)}
	case w.Call > r.Return:
		return &Violation{NothingMadeUp, key, fmt.Sprintf("%v shows a later write: %v", r, w)}
	case r.Timestamp != 0 && w.Timestamp != 0 && r.Timestamp != w.Timestamp:
		return &Violation{NothingMadeUp, key, fmt.Sprintf("%v has another timestamp than %v", r, w)}
	}
	if w.TTL > 0 && w.Return+w.TTL+expirySkew < r.Call {
		return &Violation{NothingBack, key, fmt.Sprintf("%v has expired: %v", r, w)}
	}
	if w.Timestamp == 0 { // stamped by a server that did not answer: the read tells
		stamped := *w
		stamped.Timestamp = r.Timestamp
		w = &stamped
	}
	if floor != nil && newer(w, floor) < 0 {
		if floor.Kind == Delete || floor.TTL > 0 {
			return &Violation{NothingBack, key, fmt.Sprintf("%v was deleted by %v", r, floor)}
		}
		return &Violation{NothingLost, key, fmt.Sprintf("%v shows %v, which is older than %v", r, w, floor)}
	}
	return nil
}

// hidden reports whether a delete that may have happened, or a value that may have
// expired, hides an acknowledged value from a read.
func hidden(r, floor *Op, writes []*Op) bool {
	return slices.ContainsFunc(writes, func(w *Op) bool {
		return mayHide(w, r) && (w.Timestamp == 0 || newer(w, floor) > 0)
	})
}

// checkConverged compares the final reads of one register or stream.
func checkConverged(key string, reads []*Op) []Violation {
	var first *Op
	for _, r := range reads {
		if !r.Final {
			continue
		}
		if first == nil {
			first = r
			continue
		}
		if r.Present != first.Present || r.Value != first.Value || r.Timestamp != first.Timestamp || !slices.Equal(r.Values, first.Values) {
			return []Violation{{Converged, key, fmt.Sprintf("%v, but %v", first, r)}}
		}
	}
	return nil
}

// clears are the deletions of a stream.
type clears []*Op

// mayHide reports whether a deletion may hide an event from a read.
func (c clears) mayHide(e, r *Op) bool {
	return slices.ContainsFunc(c, func(w *Op) bool {
		may := w.Result != Refused && w.Call <= r.Return
		return may && (w.Timestamp == 0 || e.Timestamp == 0 || e.Timestamp <= w.Timestamp)
	})
}

// hide finds a deletion that hides an event from a read for sure.
func (c clears) hide(e, r *Op) *Op {
	for _, w := range c {
		if w.Result == OK && w.Return < r.Call && e.Timestamp > 0 && e.Timestamp <= w.Timestamp {
			return w
		}
	}
	return nil
}

// CheckStream judges the operations of one stream: a read must show every event
// acknowledged before it began and not deleted, each once, and none that was not
// appended.
func CheckStream(key string, ops []Op) []Violation {
	appends := make(map[string]*Op)
	var ordered, reads []*Op
	var cleared clears
	for i := range ops {
		switch o := &ops[i]; {
		case o.Kind == Append:
			appends[o.Value] = o
			ordered = append(ordered, o)
		case o.Kind == Clear:
			cleared = append(cleared, o)
		case o.Result == OK:
			reads = append(reads, o)
		}
	}
	var found []Violation
	for _, r := range reads {
		if v := checkList(key, r, ordered, appends, cleared); v != nil {
			found = append(found, *v)
		}
	}
	found = append(found, checkConverged(key, reads)...)
	return append(found, checkMonotonicLists(key, reads, appends, cleared)...)
}

// checkMonotonicLists is checkMonotonic for streams.
func checkMonotonicLists(key string, lists []*Op, appends map[string]*Op, cleared clears) []Violation {
	shown := map[string]*Op{} // by event: the first list of a majority to end that showed it
	for _, l := range lists {
		for _, value := range l.Values {
			if first := shown[value]; l.Level != "one" && (first == nil || l.Return < first.Return) {
				shown[value] = l
			}
		}
	}
	for _, l := range lists {
		if l.Level == "one" {
			continue
		}
		seen := make(map[string]bool, len(l.Values))
		for _, value := range l.Values {
			seen[value] = true
		}
		for value, first := range shown {
			if first.Return < l.Call && !seen[value] && appends[value] != nil && !cleared.mayHide(appends[value], l) {
				return []Violation{{Monotonic, key, fmt.Sprintf("%v lacks %q, after %v", l, value, first)}}
			}
		}
	}
	return nil
}

func checkList(key string, r *Op, ordered []*Op, appends map[string]*Op, cleared clears) *Violation {
	seen := make(map[string]bool, len(r.Values))
	for _, value := range r.Values {
		a := appends[value]
		switch {
		case a == nil:
			return &Violation{NothingMadeUp, key, fmt.Sprintf("%v: nobody appended %q", r, value)}
		case a.Result == Refused:
			return &Violation{NothingMadeUp, key, fmt.Sprintf("%v shows a refused event: %v (%s)", r, a, a.Detail)}
		case a.Call > r.Return:
			return &Violation{NothingMadeUp, key, fmt.Sprintf("%v shows a later event: %v", r, a)}
		case seen[value]:
			return &Violation{NothingMadeUp, key, fmt.Sprintf("%v shows %q twice", r, value)}
		}
		if by := cleared.hide(a, r); by != nil {
			return &Violation{NothingBack, key, fmt.Sprintf("%v shows %v, deleted by %v", r, a, by)}
		}
		seen[value] = true
	}
	for _, a := range ordered {
		if a.Result == OK && a.Return < r.Call && !seen[a.Value] && !cleared.mayHide(a, r) {
			return &Violation{NothingLost, key, fmt.Sprintf("%v lacks %v", r, a)}
		}
	}
	return nil
}

// CheckSessions judges the timestamps that servers gave to each client's
// acknowledged writes: a client sends the last clock value that it saw, so they
// ascend, whichever node stamps and whatever its clock shows.
func CheckSessions(ops []Op) []Violation {
	last := make(map[[2]int]Op)
	var found []Violation
	for _, o := range ops {
		if !o.Stamped || o.Result != OK {
			continue
		}
		session := [2]int{o.Client, o.Session}
		before, ok := last[session]
		if ok && before.Return <= o.Call && o.Timestamp <= before.Timestamp {
			found = append(found, Violation{SessionOrder, o.Key, fmt.Sprintf("%v came after %v", o, before)})
		}
		last[session] = o
	}
	return found
}
