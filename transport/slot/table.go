package slot

import "math"

const (
	// IndexBits of an id are the slot's index; the rest is its generation, which
	// counts the uses of the slot.
	IndexBits = 16
	indexMask = 1<<IndexBits - 1

	none = -1 // end of a list of slots
)

// Index is the index in an id: below the table's limit.
func Index(id uint32) int { return int(id & indexMask) }

// State says whether somebody waits for a slot's answer.
type State uint8

// The states of a slot.
const (
	Free    State = iota
	Open          // its owner waits
	Overdue       // nobody waits any more; the answer is still owed
)

// Slot is one unanswered request.
type Slot[Owner any] struct {
	Owner    Owner // zero unless Open
	Kind     uint8 // the table's user's
	State    State
	Start    int64 // ns
	deadline int64 // ns
	bytes    int
	id       uint32
	// Neighbours in the list of used slots, oldest first; next also links free slots.
	prev, next int32
}

// forget drops the owner on the way to another state.
func (s *Slot[Owner]) forget(next State) {
	var nobody Owner
	s.Owner, s.State = nobody, next
}

// Table holds the unanswered requests to one peer. The zero value is not usable:
// make one with New.
type Table[Owner any] struct {
	// Limit bounds the slots, BytesLimit the sum of their bytes.
	Limit, BytesLimit int

	slots          []Slot[Owner]
	free           int32 // head of the free slots
	oldest, newest int32
	used           int // open and overdue
	open           int
	bytes          int   // of used slots
	next           int64 // no open slot's deadline is before this
}

// New makes an empty table; its memory grows with use.
func New[Owner any](limit, bytesLimit int) Table[Owner] {
	return Table[Owner]{Limit: limit, BytesLimit: bytesLimit, free: none, oldest: none, newest: none, next: math.MaxInt64}
}

// Used is the number of unanswered requests.
func (t *Table[Owner]) Used() int { return t.used }

// Open is the number of them whose owner waits.
func (t *Table[Owner]) Open() int { return t.open }

// Bytes is the sum of their bytes.
func (t *Table[Owner]) Bytes() int { return t.bytes }

// Size is the number of slots that were ever used at once; indexes are below it.
func (t *Table[Owner]) Size() int { return len(t.slots) }

// Add takes a slot, unless the table is full by number or bytes.
func (t *Table[Owner]) Add(now, deadline int64, bytes int, kind uint8, o Owner) (id uint32, ok bool) {
	if t.used >= t.Limit || t.bytes+bytes > t.BytesLimit {
		return 0, false
	}
	i := t.free
	if i == none {
		i = int32(len(t.slots))
		t.slots = append(t.slots, Slot[Owner]{id: uint32(i), next: none})
	}
	e := &t.slots[i]
	t.free = e.next
	e.id += 1 << IndexBits
	e.Owner, e.Kind = o, kind
	e.Start, e.deadline, e.bytes, e.State = now, deadline, bytes, Open
	e.prev, e.next = t.newest, none
	if t.newest == none {
		t.oldest = i
	} else {
		t.slots[t.newest].next = i
	}
	t.newest = i
	t.used++
	t.open++
	t.bytes += bytes
	t.next = min(t.next, deadline)
	return e.id, true
}

// Get returns the unanswered request of an id.
func (t *Table[Owner]) Get(id uint32) (*Slot[Owner], bool) {
	i := int32(id & indexMask)
	if int(i) >= len(t.slots) || t.slots[i].id != id || t.slots[i].State == Free {
		return nil, false
	}
	return &t.slots[i], true
}

// Release frees the slot of an id that Get knows.
func (t *Table[Owner]) Release(id uint32) {
	i := int32(id & indexMask)
	e := &t.slots[i]
	if e.prev == none {
		t.oldest = e.next
	} else {
		t.slots[e.prev].next = e.next
	}
	if e.next == none {
		t.newest = e.prev
	} else {
		t.slots[e.next].prev = e.prev
	}
	if e.State == Open {
		t.open--
	}
	t.used--
	t.bytes -= e.bytes
	e.forget(Free)
	e.next, t.free = t.free, i
}

// Expire makes the open slots whose deadline has come overdue, appends their
// owners to dst, oldest first, and forgets them. It costs nothing before the
// first deadline.
func (t *Table[Owner]) Expire(now int64, dst []Owner) []Owner {
	if now < t.next {
		return dst
	}
	t.next = math.MaxInt64
	for i := t.oldest; i != none; i = t.slots[i].next {
		e := &t.slots[i]
		if e.State != Open {
			continue
		}
		if e.deadline > now {
			t.next = min(t.next, e.deadline)
			continue
		}
		dst = append(dst, e.Owner)
		e.forget(Overdue)
		t.open--
	}
	return dst
}

// Abandon makes an open slot overdue because its owner has gone.
func (t *Table[Owner]) Abandon(id uint32) {
	if e, known := t.Get(id); known && e.State == Open {
		e.forget(Overdue)
		t.open--
	}
}

// Clear frees all slots and appends the owners that still wait to dst. Ids given
// before stay unknown.
func (t *Table[Owner]) Clear(dst []Owner) []Owner {
	for t.oldest != none {
		e := &t.slots[t.oldest]
		if e.State == Open {
			dst = append(dst, e.Owner)
		}
		t.Release(e.id)
	}
	t.next = math.MaxInt64
	return dst
}

// OldestStart is when the oldest unanswered request began, 0 if there is none.
func (t *Table[Owner]) OldestStart() int64 {
	if t.oldest == none {
		return 0
	}
	return t.slots[t.oldest].Start
}
