package purge

import (
	"bytes"
	"slices"
	"time"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
)

// Blocker is a node for which purging waits.
type Blocker struct {
	Node  ring.NodeID
	Since time.Time
	Why   string
}

// Status is how far purging has come.
type Status struct {
	Fence time.Time // zero: there is none
	// Waiting is when the oldest deletion was made or data expired that is not
	// purged yet; zero if there is none.
	Waiting  time.Time
	Blockers []Blocker // by node
}

// Reasons why a node blocks purging.
const (
	silent  = "does not answer"
	holding = "holds hints that made an acknowledgement true"
)

// Status describes purging for people.
func (k *Keeper) Status() Status {
	var s Status
	if f := k.env.Fences.Fence(); f > 0 {
		s.Fence = f.Time()
	}
	now := k.env.Clock.Physical()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.waiting != record.Never {
		s.Waiting = time.Unix(k.waiting, 0)
	}
	s.Blockers = k.blockers(now)
	return s
}

// blockers lists the members that hold fences back. k.mu is held.
func (k *Keeper) blockers(now time.Time) (all []Blocker) {
	late := now.Add(-k.cfg.Lag - 5*k.cfg.Every)
	held := func(id ring.NodeID, floor hlc.Timestamp) {
		if floor > 0 && floor.Time().Before(late) {
			all = append(all, Blocker{Node: id, Since: floor.Time(), Why: holding})
		}
	}
	for id, m := range k.members {
		if now.Sub(m.heard) > 5*k.cfg.Every {
			all = append(all, Blocker{Node: id, Since: m.heard, Why: silent})
		} else {
			held(id, m.floor)
		}
	}
	held(k.env.Self, k.floor)
	slices.SortFunc(all, func(a, b Blocker) int { return bytes.Compare(a.Node[:], b.Node[:]) })
	return all
}

// tell sets the gauges, and logs when a member begins to block purging or ceases to.
func (k *Keeper) tell() {
	s := k.Status()
	now := k.env.Clock.Physical()
	k.metrics.blocked.Reset()
	blocked := map[ring.NodeID]Blocker{}
	for _, b := range s.Blockers {
		blocked[b.Node] = b
		k.metrics.blocked.WithLabelValues(b.Node.String()).Set(now.Sub(b.Since).Seconds())
	}
	k.metrics.waiting.Set(0)
	if !s.Waiting.IsZero() {
		k.metrics.waiting.Set(max(0, now.Sub(s.Waiting).Seconds()))
	}
	var lines []func()
	k.mu.Lock()
	for id, m := range k.members {
		b, is := blocked[id]
		if is != m.told {
			lines = append(lines, func() {
				if is {
					k.env.Logger.Warn("purging of deletions and expired data waits for a node", "node", id, "since", b.Since, "reason", b.Why)
				} else {
					k.env.Logger.Info("purging waits for a node no more", "node", id)
				}
			})
		}
		m.told = is
	}
	k.mu.Unlock()
	for _, line := range lines {
		line()
	}
}
