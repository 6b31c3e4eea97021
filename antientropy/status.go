package antientropy

import (
	"time"

	"github.com/dunlindb/dunlin/antientropy/ledger"
	"github.com/dunlindb/dunlin/antientropy/purge"
	"github.com/dunlindb/dunlin/antientropy/share"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

// Status is what anti-entropy has done and has before it.
type Status struct {
	Tables []TableStatus
	// Round counts complete rounds: times that every range was verified with every
	// peer. Verified of Ranges (by keyspace and peer) are done in the present one.
	Round            uint64
	Started          time.Time
	Verified, Ranges int
	// Remaining estimates when the round is complete, at its pace up to now; 0 if
	// nothing was verified yet.
	Remaining time.Duration
	Purge     purge.Status
}

// TableStatus is one table's part. What was verified is known by keyspace.
type TableStatus struct {
	Keyspace, Table string
	// OldestUnverified is the age of the oldest verification of any range with any
	// peer; of ranges never verified, the time since that was first wanted.
	OldestUnverified time.Duration
	// Never is how many ranges, by peer, were never verified.
	Never int
	// Clean and Dirty count leaves, as they were last looked at.
	Clean, Dirty int
	// Rows and Bytes were pulled from peers since the start.
	Rows, Bytes uint64
}

// progress is of the present round.
type progress struct {
	round    uint64
	started  hlc.Timestamp
	verified int
	ranges   int
}

// age is what a keyspace has to show for verifications.
type age struct {
	oldest hlc.Timestamp // 0: there is nothing to verify
	never  int
}

// ages measures all keyspaces, and the present round. a.mu is held.
func (a *AntiEntropy) ages(v *schema.View) map[string]age {
	ages := map[string]age{}
	a.progress.verified, a.progress.ranges = 0, 0
	self, member := v.Ring.Index(a.env.Self)
	for p := range v.Ring.Placements() {
		name := share.Keyspace(v, p)
		if _, seen := ages[name]; seen || !member {
			continue // a keyspace without tables has nothing to verify
		}
		var g age
		a.ledger.Each(func(k ledger.Key, account *ledger.Account) {
			if other, ok := v.Ring.Index(k.Peer); ok && k.Keyspace == name {
				a.age(&g, account, v.Ring, p, self, other)
			}
		})
		ages[name] = g
	}
	return ages
}

// age adds one account. a.mu is held.
func (a *AntiEntropy) age(g *age, account *ledger.Account, r *ring.Ring, placement int, self, other uint16) {
	for id, at := range account.Verified {
		id := token.RangeID(id)
		if !r.Holds(placement, id, self) || !r.Holds(placement, id, other) {
			continue
		}
		a.progress.ranges++
		if at > 0 && at >= a.progress.started {
			a.progress.verified++
		}
		if at == 0 {
			at = account.Opened
			g.never++
		}
		if g.oldest == 0 || at < g.oldest {
			g.oldest = at
		}
	}
}

// refresh sets the gauges, and begins a new round when one is complete.
func (a *AntiEntropy) refresh() {
	v := a.plan.view
	now := hlc.FromTime(a.env.Clock.Physical())
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.progress.started == 0 {
		a.progress.started = now
	}
	oldest, never := now, 0
	for _, g := range a.ages(v) {
		if g.oldest > 0 {
			oldest, never = min(oldest, g.oldest), never+g.never
		}
	}
	if a.progress.ranges > 0 && a.progress.verified == a.progress.ranges {
		a.progress.round++
		a.progress.started = now
	}
	clean, dirty := 0, 0
	for _, t := range a.leafCounts() {
		clean, dirty = clean+t.clean, dirty+t.dirty
	}
	a.metrics.oldest.Set(now.Time().Sub(oldest.Time()).Seconds())
	a.metrics.never.Set(float64(never))
	a.metrics.clean.Set(float64(clean))
	a.metrics.dirty.Set(float64(dirty))
}

// leafCounts adds the looks up, by table. a.mu is held.
func (a *AntiEntropy) leafCounts() map[uint32]tableLook {
	counts := map[uint32]tableLook{}
	for _, l := range a.looks {
		if l == nil {
			continue
		}
		for _, t := range l.tables {
			c := counts[t.table]
			counts[t.table] = tableLook{t.table, c.clean + t.clean, c.dirty + t.dirty}
		}
	}
	return counts
}

// Status describes the work for people.
func (a *AntiEntropy) Status() Status {
	v := a.env.Replica.View()
	if v == nil {
		return Status{}
	}
	now := hlc.FromTime(a.env.Clock.Physical())
	purging := a.purge.Status()
	a.mu.Lock()
	defer a.mu.Unlock()
	ages, counts := a.ages(v), a.leafCounts()
	p := a.progress
	s := Status{Purge: purging, Round: p.round, Verified: p.verified, Ranges: p.ranges}
	if p.started > 0 {
		s.Started = p.started.Time()
		if p.verified > 0 {
			s.Remaining = now.Time().Sub(s.Started) * time.Duration(p.ranges-p.verified) / time.Duration(p.verified)
		}
	}
	for _, t := range v.Tables() {
		g, c, got := ages[t.Keyspace], counts[t.ID], a.pulled[t.ID]
		row := TableStatus{
			Keyspace: t.Keyspace, Table: t.Name, Never: g.never,
			Clean: c.clean, Dirty: c.dirty, Rows: got.rows, Bytes: got.bytes,
		}
		if g.oldest > 0 {
			row.OldestUnverified = max(0, now.Time().Sub(g.oldest.Time()))
		}
		s.Tables = append(s.Tables, row)
	}
	return s
}
