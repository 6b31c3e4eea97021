package replica

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/transport"
)

// apply is one group on its way through the committers. It is pooled, and gone
// when its sink hears.
type apply struct {
	r        *Replica
	from     ring.NodeID
	group    transport.Group
	deadline time.Time
	sink     transport.Sink
	tag      uint32

	view    *schema.View // that it was planned by
	parts   []part       // one for each committer concerned
	pending atomic.Int32 // parts that are not done
	verdict atomic.Pointer[transport.Verdict]
}

// part is what one committer does for a group. It is a storage.Item.
type part struct {
	a         *apply
	committer int
	rows      int // staged
	bytes     int // staged
	retired   int // rows below a retention floor, which are dropped
}

// Apply stores a group and tells sink, after the sync that makes it durable. It
// never blocks. g.Entries must stay unchanged until sink has heard.
func (r *Replica) Apply(from ring.NodeID, g transport.Group, deadline time.Time, sink transport.Sink, tag uint32) {
	a, ok := r.applies.Get().(*apply)
	if !ok {
		a = &apply{r: r, parts: make([]part, 0, len(r.committers))}
	}
	a.from, a.group, a.deadline, a.sink, a.tag = from, g, deadline, sink, tag
	if v := r.adopted.Load(); v == nil || g.Version > v.Version {
		r.startLater(a)
	} else {
		a.start(v)
	}
}

// start plans the group by a view at least as new as its sender's, and queues it.
func (a *apply) start(v *schema.View) {
	a.view, a.parts = v, a.parts[:0]
	if verdict := a.plan(); verdict.Code != transport.OK || len(a.parts) == 0 {
		a.end(verdict)
		return
	}
	a.pending.Store(int32(len(a.parts)))
	// Once the last part is queued, a may be gone.
	engine, parts := a.r.engine, a.parts
	for i := range parts {
		if err := engine.Submit(parts[i].committer, &parts[i]); err != nil {
			parts[i].Done(err)
		}
	}
}

// plan finds the committers concerned, and checks that the entries can be read
// and that their tables exist. The sender's version is no newer than the view, so
// a table that is missing was dropped.
func (a *apply) plan() transport.Verdict {
	var table *schema.TableView
	for rest := a.group.Entries; len(rest) > 0; {
		key, _, next, err := record.NextEntry(rest)
		if err != nil {
			return transport.Verdict{Code: transport.Failed, Detail: "a mutation group cannot be read"}
		}
		k, err := record.ParseKey(key)
		if err != nil {
			return transport.Verdict{Code: transport.Failed, Detail: "a row's key cannot be read"}
		}
		if table == nil || table.ID != k.Table {
			if table = a.view.Table(k.Table); table == nil {
				return transport.Verdict{Code: transport.UnknownTable, Version: a.view.Version}
			}
		}
		a.concern(a.r.engine.CommitterOf(k.Token.Range()))
		rest = next
	}
	return transport.Verdict{}
}

// concern adds a part for a committer, unless there is one.
func (a *apply) concern(committer int) {
	for i := range a.parts {
		if a.parts[i].committer == committer {
			return
		}
	}
	a.parts = append(a.parts, part{a: a, committer: committer})
}

// Bytes is what the part counts in its queue.
func (p *part) Bytes() int { return len(p.a.group.Entries)/len(p.a.parts) + 1 }

// Frees reports whether the group only deletes.
func (p *part) Frees() bool {
	for rest := p.a.group.Entries; len(rest) > 0; {
		key, value, next, _ := record.NextEntry(rest) // plan has read it before
		if space, _ := record.KeySpace(key); !record.Frees(space, value) {
			return false
		}
		rest = next
	}
	return true
}

// Stage puts the part's rows into the committer's batch, on its goroutine, if
// the view that it serves by allows: all of them or none.
func (p *part) Stage(b *storage.Batch) {
	a, c := p.a, &p.a.r.committers[p.committer]
	if !a.deadline.IsZero() && time.Now().After(a.deadline) {
		a.refuse(transport.Verdict{Code: transport.Expired, Detail: "the deadline passed in the queue"})
		return
	}
	if a.group.Born <= c.fence && c.fence > 0 {
		p.late()
		return
	}
	if c.view != a.view || a.group.Version < c.view.Ring.MaxChangedAt() {
		if v := p.fence(c.view); v.Code != transport.OK {
			a.refuse(v)
			return
		}
	}
	if c.marks.broken.Swap(false) {
		c.marks.repeat(b)
	}
	alone := len(a.parts) == 1
	for rest := a.group.Entries; len(rest) > 0; {
		key, value, next, _ := record.NextEntry(rest) // plan has read it before
		rest = next
		if !alone && !p.owns(key) {
			continue
		}
		if c.floors && retired(c.view, key) {
			p.retired++
			continue
		}
		c.marks.write(b, c.view, key, value)
		b.Merge(key, value)
		p.rows++
		p.bytes += len(key) + len(value)
	}
}

// owns reports whether a row is this part's.
func (p *part) owns(key []byte) bool {
	t, _ := record.KeyToken(key)
	return p.a.r.engine.CommitterOf(t.Range()) == p.committer
}

// fence checks the part's rows against the committer's view.
func (p *part) fence(v *schema.View) transport.Verdict {
	for rest := p.a.group.Entries; len(rest) > 0; {
		key, _, next, _ := record.NextEntry(rest)
		rest = next
		if !p.owns(key) {
			continue
		}
		t, _ := record.KeyToken(key)
		table, _ := record.KeyTable(key)
		if v.Table(table) == nil {
			return transport.Verdict{Code: transport.UnknownTable, Version: v.Version}
		}
		if verdict := fence(v, t.Range(), p.a.group.Version); verdict.Code != transport.OK {
			return verdict
		}
	}
	return transport.Verdict{}
}

// retired reports whether a row lies below its table's retention floor.
func retired(v *schema.View, key []byte) bool {
	window, ok := record.KeyWindow(key)
	if !ok {
		return false
	}
	table, _ := record.KeyTable(key)
	t := v.Table(table)
	return t != nil && window < t.Floor
}

// Done hears that the batch with the part is synced, or why it is not.
func (p *part) Done(err error) {
	a, m := p.a, p.a.r.metrics
	switch {
	case err == nil:
		m.appliedRows.Add(float64(p.rows))
		m.appliedBytes.Add(float64(p.bytes))
		if p.retired > 0 {
			m.retiredRows.Add(float64(p.retired))
		}
	case errors.Is(err, storage.ErrOverloaded):
		a.refuse(transport.Verdict{Code: transport.Overloaded, Detail: err.Error()})
	default:
		if p.rows > 0 {
			a.r.committers[p.committer].marks.broken.Store(true)
		}
		a.refuse(transport.Verdict{Code: transport.Failed, Detail: err.Error()})
	}
	if a.pending.Add(-1) > 0 {
		return
	}
	if v := a.verdict.Load(); v != nil {
		a.end(*v)
		return
	}
	a.end(transport.Verdict{})
}

// refuse keeps the first verdict other than OK, and reports whether this is it; the
// group's sink will hear it.
func (a *apply) refuse(v transport.Verdict) (first bool) { return a.verdict.CompareAndSwap(nil, &v) }

// end gives the apply back and tells the sink.
func (a *apply) end(v transport.Verdict) {
	r, sink, tag := a.r, a.sink, a.tag
	if v.Code != transport.OK {
		r.metrics.refusedGroups[v.Code].Inc()
	}
	clear(a.parts)
	*a = apply{r: r, parts: a.parts[:0]}
	r.applies.Put(a)
	sink.Done(tag, v)
}
