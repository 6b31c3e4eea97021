package hinted

import (
	"sync"

	"github.com/dunlindb/dunlin/hinted/form"
	"github.com/dunlindb/dunlin/hinted/route"
	"github.com/dunlindb/dunlin/transport"
)

// chunk is the head of a queue on its way to the target: what is read, sent and
// answered together. It belongs to one replay, and is the sink of its groups.
type chunk struct {
	data  []byte // the values of its hints
	kept  []kept
	boxes []route.Parcel
	done  chan struct{} // one slot: everything sent is answered

	mu       sync.Mutex // guards the fields below
	verdicts []transport.Verdict
	open     int  // sends that are not answered, and one while sending goes on
	halted   bool // a verdict says that sending on is of no use
}

// kept is one hint of a chunk.
type kept struct {
	form.Hint
	seq        uint64
	start, end int // of its value in data
	size       tally
	from, to   int // its parcels
	where      route.Routed
	unreadable bool
	unsent     bool // or not all of it
}

func newChunk() *chunk { return &chunk{done: make(chan struct{}, 1)} }

// reset empties the chunk.
func (c *chunk) reset() {
	clear(c.kept)
	clear(c.boxes)
	c.data, c.kept, c.boxes = c.data[:0], c.kept[:0], c.boxes[:0]
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.verdicts)
	c.verdicts, c.halted = c.verdicts[:0], false
}

// begin makes the chunk wait for verdicts; end, or the last of them, ends it.
func (c *chunk) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = 1
}

// sending makes room for one more verdict, and returns its tag. It reports false
// when sending on is of no use.
func (c *chunk) sending() (tag uint32, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.halted {
		return 0, false
	}
	c.open++
	c.verdicts = append(c.verdicts, transport.Verdict{})
	return uint32(len(c.verdicts) - 1), true
}

// Done hears the verdict of one parcel.
func (c *chunk) Done(tag uint32, v transport.Verdict) {
	c.mu.Lock()
	c.verdicts[tag] = v
	c.halted = c.halted || fateOf(v.Code) == later
	c.mu.Unlock()
	c.end()
}

func (c *chunk) end() {
	c.mu.Lock()
	c.open--
	last := c.open == 0
	c.mu.Unlock()
	if last {
		c.done <- struct{}{}
	}
}

// fate is what becomes of a hint, in the order of gravity.
type fate int

const (
	delivered fate = iota
	needless       // fenced, or its table is gone: nobody is behind without it
	refused        // the replica failed to apply it
	later          // not now: the replica is away, busy, or of another catalog version
)

func fateOf(code transport.Code) fate {
	switch code {
	case transport.OK:
		return delivered
	case transport.Fenced, transport.UnknownTable:
		return needless
	case transport.Failed:
		return refused
	}
	return later
}

// settle says what becomes of a hint by the verdicts of its parcels: the gravest.
func settle(verdicts []transport.Verdict) (fate, transport.Verdict) {
	worst, why := delivered, transport.Verdict{}
	for _, v := range verdicts {
		if f := fateOf(v.Code); f > worst {
			worst, why = f, v
		}
	}
	return worst, why
}

// verdict is settle for a hint of the chunk, once everything is answered.
func (c *chunk) verdict(k *kept) (fate, transport.Verdict) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k.where.Early {
		return later, transport.Verdict{Code: transport.StaleCatalog, Detail: "this node's catalog is older than the hint"}
	}
	if k.unsent {
		if f, v := settle(c.verdicts[k.from:k.to]); f == later {
			return f, v
		}
		return later, transport.Verdict{Code: transport.Unreachable, Detail: "not sent"}
	}
	return settle(c.verdicts[k.from:k.to])
}

// fillChunk reads a chunk from a span of a queue: at least one hint, if there is one,
// and otherwise at most Config.ReplayBytes.
func (h *Handoff) fillChunk(c *chunk, id queueID, from, to uint64) error {
	err := h.store.Scan(id.key(from), id.key(to+1), func(key, value []byte) bool {
		if len(c.kept) > 0 && len(c.data)+len(value) > h.cfg.ReplayBytes {
			return false
		}
		_, seq, _ := parseKey(key)
		at := len(c.data)
		c.data = append(c.data, value...)
		c.kept = append(c.kept, kept{seq: seq, start: at, end: len(c.data)})
		return true
	})
	for i := range c.kept {
		k := &c.kept[i]
		value := c.data[k.start:k.end:k.end]
		var bad error
		k.Hint, bad = form.DecodeHint(value)
		k.size = sizeOf(value, k.Count)
		k.unreadable = bad != nil
	}
	return err
}
