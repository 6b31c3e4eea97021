package coordinator

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/dunlindb/dunlin/coordinator/page"
	"github.com/dunlindb/dunlin/coordinator/quorum"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/transport"
)

// repair is a read repair on its way: what was merged goes, through the ordinary
// apply, to the replicas that lack it. It is the sink of their verdicts.
type repair struct {
	c      *Coordinator
	need   int
	groups []repairGroup
	wake   chan struct{} // one token: it is known whether need replicas are equal

	mu      sync.Mutex    // guards the fields below
	equals  quorum.Equals // by candidate
	decided bool
}

// repairGroup is one group for one candidate.
type repairGroup struct {
	candidate int
	target    ring.NodeID
	wire      transport.Group
}

// repair makes the replicas equal that were found behind. Blocking, it returns
// when as many replicas as the level asks for have what the read answers, so that
// a later read cannot answer less; the error is that they could not be had in time.
func (r *reader) repair(t *schema.TableView) (repaired bool, err error) {
	if r.need < 2 || t.ReadRepair == schema.RepairOff {
		return false, nil
	}
	p := r.planRepair(t)
	if len(p.groups) == 0 {
		return false, nil
	}
	mode := cmp.Or(t.ReadRepair, schema.RepairBlocking)
	r.c.metrics.repairs.WithLabelValues(string(mode)).Inc()
	if mode == schema.RepairAsync && !r.c.admission.MayRepair() {
		r.c.metrics.repairsShed.Inc()
		return false, nil
	}
	deadline, _ := r.ctx.Deadline()
	for range p.groups {
		r.c.admission.BeginTask()
	}
	for i := range p.groups {
		g := &p.groups[i]
		r.c.metrics.repairedRows.Add(float64(g.wire.Count))
		r.c.env.Peers.Apply(g.target, &g.wire, deadline, p, uint32(i))
	}
	if mode == schema.RepairAsync {
		return false, nil
	}
	return true, p.wait(r.ctx)
}

// planRepair finds out who lacks what, and cuts it into groups.
func (r *reader) planRepair(t *schema.TableView) *repair {
	n := len(r.candidates)
	p := &repair{c: r.c, need: r.need, wake: make(chan struct{}, 1), equals: quorum.NewEquals(r.need, n)}
	for i := range r.candidates {
		rows, head := r.page.Lacks(i)
		complete := r.page.Complete(i)
		if len(rows) == 0 && head == nil {
			if complete {
				p.equals.Has()
			}
			continue
		}
		groups := r.repairGroups(t, i, rows, head)
		p.equals.Lacks(i, len(groups), complete)
		p.groups = append(p.groups, groups...)
	}
	return p
}

// repairGroups encodes what a candidate lacks. The groups are born when the read
// began: a repair that is late cannot bring back what was purged meanwhile.
func (r *reader) repairGroups(t *schema.TableView, candidate int, rows []page.Lack, head []byte) (groups []repairGroup) {
	add := func(key, value []byte) {
		n := len(groups)
		if n == 0 || len(groups[n-1].wire.Entries)+len(key)+len(value) > r.c.cfg.GroupBytes {
			groups = append(groups, repairGroup{
				candidate: candidate, target: r.candidates[candidate].id,
				wire: transport.Group{Version: r.view.Version, Born: r.born},
			})
			n++
		}
		g := &groups[n-1].wire
		g.Entries = record.AppendEntry(g.Entries, key, value)
		g.Count++
	}
	if head != nil {
		add(t.Shape.AppendHeadKey(nil, r.token, r.wire.Partition), head)
	}
	if r.wire.Reverse {
		slices.Reverse(rows)
	}
	for _, row := range rows {
		key, err := t.Shape.AppendRowKey(nil, r.token, r.wire.Partition, row.Suffix)
		if err != nil { // a replica has answered a row that the table cannot have
			r.c.env.Logger.Error("a row cannot be repaired", "table", t.FullName(), "replica", r.candidates[candidate].id, "error", err)
			continue
		}
		add(key, row.Fragment)
	}
	return groups
}

// Done hears a replica's verdict on one of the groups.
func (p *repair) Done(tag uint32, v transport.Verdict) {
	g := &p.groups[tag]
	if v.Code != transport.OK {
		p.c.metrics.repairFailures.WithLabelValues(v.Code.String()).Inc()
		if hintable(v.Code) {
			p.c.keep(g.target, &g.wire)
		}
	}
	p.mu.Lock()
	before := p.decided
	p.equals.Hear(g.candidate, v.Code == transport.OK)
	p.decided = p.equals.Decided()
	wake := p.decided && !before
	p.mu.Unlock()
	if wake {
		p.wake <- struct{}{}
	}
	p.c.admission.EndTask()
}

// wait returns when need replicas are equal. The error is that they are not: an
// answer would promise what the next read may not see.
func (p *repair) wait(ctx context.Context) error {
	equal, enough := p.state()
	if !enough { // else who is behind was asked beyond the level
		select {
		case <-p.wake:
		case <-ctx.Done():
		}
		equal, enough = p.state()
	}
	if enough {
		return nil
	}
	return &TimeoutError{Need: p.need, Got: equal}
}

// state returns how many replicas are equal by now, and whether that is enough.
func (p *repair) state() (equal int, enough bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.equals.Equal(), p.equals.Enough()
}

// reportConflicts counts rows of an append-only table that have two payloads, and
// logs one read of them a second.
func (c *Coordinator) reportConflicts(t *schema.TableView, partition []byte, rows int) {
	c.metrics.conflicts.Add(float64(rows))
	now, last := time.Now().UnixNano(), c.conflicted.Load()
	if now-last > int64(time.Second) && c.conflicted.CompareAndSwap(last, now) {
		c.env.Logger.Warn("rows with one id have different payloads; the later write is shown",
			"table", t.FullName(), "partition", string(partition), "rows", rows)
	}
}

// born is when a read begins, for what it repairs.
func (c *Coordinator) born() hlc.Timestamp {
	if now, err := c.env.Clock.NowAbove(0); err == nil {
		return now
	}
	return c.env.Clock.Last() // earlier is safe
}
