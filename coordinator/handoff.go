package coordinator

import (
	"math"
	"slices"
	"time"

	"github.com/dunlindb/dunlin/coordinator/quorum"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

// Hints keeps what replicas missed, and replays it: *hinted.Hinted.
type Hints interface {
	// Keep stores a group for a replica, as far as its bounds allow. It copies the
	// entries and never blocks.
	Keep(target ring.NodeID, g *transport.Group)
}

// nobody is no member.
const nobody = math.MaxUint16

// keep leaves a group to hints, which help a replica to catch up.
func (c *Coordinator) keep(target ring.NodeID, g *transport.Group) {
	if c.env.Hints != nil {
		c.env.Hints.Keep(target, g)
	}
}

// findHolders finds live nodes that will hold the group for replicas that are not
// alive, up to as many as are wanted now and in the target, and count towards its
// level: for sloppy writes the next nodes of the walk (Dynamo, section 4.6), for
// level any this one. It returns how many it found.
func (w *Write) findHolders(g *group, now, then int) (found int) {
	var holders []uint16
	want := max(now, 0) + max(then, 0)
	switch {
	case w.c.env.Hints == nil:
		return 0
	case w.opts.Sloppy || w.view.Table(g.table).Sloppy:
		holders = w.fallbacks(g, want)
	case w.opts.Level == Any:
		if self, ok := w.view.Ring.Index(w.c.env.Self); ok && w.view.Ring.Member(self).State == ring.Normal {
			holders = slices.Repeat([]uint16{self}, want)
		}
	}
	if len(holders) == 0 {
		return 0
	}
	g.holders = slices.Repeat([]uint16{nobody}, len(g.members))
	for tag, member := range g.members {
		of := g.sides(uint32(tag))
		if found == len(holders) || w.members[member] > 0 || (of&quorum.Now == 0 || now <= 0) && (of&quorum.Then == 0 || then <= 0) {
			continue
		}
		g.holders[tag] = holders[found]
		found++
		left, leftThen := 0, 0
		g.count(uint32(tag), &left, &leftThen)
		now, then = now-left, then-leftThen
	}
	return found
}

// fallbacks walks on from a group's range to live members that are no replicas of it.
func (w *Write) fallbacks(g *group, want int) (found []uint16) {
	r := w.view.Ring
	first := g.token.Range()
	for step := token.RangeID(1); step < token.Ranges && len(found) < want; step++ {
		m := r.Owner((first + step) % token.Ranges)
		if !slices.Contains(g.members, m) && !slices.Contains(found, m) && r.Member(m).State == ring.Normal && w.alive(m) {
			found = append(found, m)
		}
	}
	return found
}

// hold asks a node to hold the group for one of its replicas.
func (g *group) hold(tag uint32, holder ring.NodeID) {
	wire := g.wire
	wire.Owner = g.w.view.Ring.Member(g.members[tag]).ID
	g.w.c.env.Peers.Apply(holder, &wire, g.w.deadline, g, tag)
}

// handOff takes care of what a replica missed: it becomes a hint. It reports
// that the hint may still reach the level: at level any a synced one counts.
func (g *group) handOff(tag uint32, code transport.Code) (again bool) {
	w := g.w
	g.mu.Lock()
	own := g.codes[tag] == codePending // the replica itself was asked, and not who holds for it
	again = own && hintable(code) && w.opts.Level == Any && w.c.env.Hints != nil && g.tracker.Outcome() != quorum.Reached
	if again {
		g.codes[tag] = codeHolding
	}
	g.mu.Unlock()
	if own {
		w.c.metrics.missed(code, g.wire.Count)
	}
	switch {
	case again:
		g.hold(tag, w.c.env.Self)
	case hintable(code):
		w.c.keep(w.view.Ring.Member(g.members[tag]).ID, &g.wire)
	}
	return again
}

// hintable reports whether a replica should be given a group later that it did
// not take now: not if its table is gone, or anti-entropy has carried it.
func hintable(code transport.Code) bool {
	return code != transport.OK && code != transport.UnknownTable && code != transport.Fenced
}

// replicaDeadline leaves half of the time for a hint where that can save the level.
func (w *Write) replicaDeadline() time.Time {
	if w.opts.Level != Any {
		return w.deadline
	}
	return w.start.Add(w.deadline.Sub(w.start) / 2)
}
