package hinted

import (
	"math"
	"sync"
	"time"

	"github.com/dunlindb/dunlin/hinted/form"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/transport"
)

// never is later than every born.
const never = hlc.Timestamp(math.MaxInt64)

// keepArena is how much memory a buffer keeps for the next hints.
const keepArena = 1 << 20

// buffer has the hints that are not written yet.
type buffer struct {
	limit int           // bytes of each class
	wake  chan struct{} // one slot: there is something to write

	mu      sync.Mutex // guards the fields below
	closed  bool
	next    batch
	spare   batch            // for the batch after next
	bytes   [Counted + 1]int // by class, what is being written included
	writing hlc.Timestamp    // smallest born of the counted hints being written; never if none
	floor   hlc.Timestamp    // counted hints born at or below are refused
}

// batch is what is written together.
type batch struct {
	items []item
	data  []byte        // the items' values
	born  hlc.Timestamp // smallest of counted items; never if none
}

// item is one hint on its way to disk.
type item struct {
	id         queueID
	start, end int // of its value in batch.data
	rows       int
	sink       transport.Sink // of a counted hint
	tag        uint32
	again      bool // it is held already and goes to the end of its queue: no bound applies
}

func newBuffer(limit int) *buffer {
	return &buffer{
		limit: limit, wake: make(chan struct{}, 1), writing: never, floor: math.MinInt64,
		next: batch{born: never}, spare: batch{born: never},
	}
}

// put adds a hint, with a copy of the group's entries, or says why not.
func (b *buffer) put(it item, g *transport.Group) (refused reason) {
	size := len(g.Entries) + form.HintOverhead
	b.mu.Lock()
	defer b.mu.Unlock()
	held := b.bytes[it.id.class]
	switch {
	case b.closed:
		return stopping
	case it.again:
	case g.Count < 1 || g.Count > len(g.Entries)/2:
		return corrupt // an entry has at least its two lengths
	case it.id.class == Counted && g.Born <= b.floor:
		return fenced
	case held > 0 && held+size > b.limit:
		return bufferFull
	}
	n := &b.next
	it.start, it.rows = len(n.data), g.Count
	n.data = form.AppendHint(n.data, &form.Hint{
		Created: time.Now().UnixMicro(), Born: g.Born, Version: g.Version, Count: g.Count, Entries: g.Entries,
	})
	it.end = len(n.data)
	n.items = append(n.items, it)
	b.bytes[it.id.class] += it.end - it.start
	if it.id.class == Counted {
		n.born = min(n.born, g.Born)
	}
	b.nudge()
	return ""
}

// nudge wakes the writer.
func (b *buffer) nudge() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// take returns what there is to write. written must follow.
func (b *buffer) take() batch {
	b.mu.Lock()
	defer b.mu.Unlock()
	taken := b.next
	b.next, b.spare = b.spare, batch{born: never}
	b.writing = taken.born
	return taken
}

// written ends the wait of a batch that take returned.
func (b *buffer) written(done batch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range done.items {
		it := &done.items[i]
		b.bytes[it.id.class] -= it.end - it.start
	}
	b.writing = never
	if cap(done.data) <= keepArena {
		clear(done.items) // it must not keep sinks
		b.spare = batch{items: done.items[:0], data: done.data[:0], born: never}
	}
}

// size is how many bytes of a class are not written yet.
func (b *buffer) size(c Class) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes[c]
}

// oldest is the smallest born of counted hints that are not written yet; never if
// there is none.
func (b *buffer) oldest() hlc.Timestamp {
	b.mu.Lock()
	defer b.mu.Unlock()
	return min(b.next.born, b.writing)
}

// raise raises the floor to a timestamp, or as far as buffered hints allow.
func (b *buffer) raise(to hlc.Timestamp) (floor hlc.Timestamp, raised bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	to = min(to, b.next.born-1, b.writing-1)
	if to <= b.floor {
		return b.floor, false
	}
	b.floor = to
	return to, true
}

// close refuses what comes later.
func (b *buffer) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
}
