package rebalance

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
)

// Report is how far a change is on all nodes.
type Report struct {
	Change  *ring.Change
	Since   time.Time   // when this node has first seen its phase
	Driver  ring.NodeID // who takes it on as long as it is alive
	Members []MemberState
	Waiting []string // who holds it up, and what can be done, in sentences
}

// MemberState is how far one member is.
type MemberState struct {
	ring.Member
	State
	Err error // it did not tell
}

// Report asks all members how far the change on its way is; the Report's Change is nil
// if there is none.
func (d *Driver) Report(ctx context.Context) (r Report, err error) {
	v := d.env.Replica.View()
	if v == nil || v.Ring.Change() == nil {
		return r, nil
	}
	d.mu.Lock()
	r = Report{Change: v.Ring.Change(), Since: d.began}
	d.mu.Unlock()
	for i := range v.Ring.Members() {
		if m := v.Ring.Member(uint16(i)); d.rank(v, m) == 0 {
			r.Driver = m.ID
		}
	}
	if r.Members, err = d.Members(ctx, v); err != nil {
		return r, err
	}
	for _, one := range d.reasons(v, r.Change, d.needed(v, r.Change), r.Members) {
		if !one.ordinary {
			r.Waiting = append(r.Waiting, one.text)
		}
	}
	return r, nil
}

// Members asks all members of a view how far they are, and how much they store.
func (d *Driver) Members(ctx context.Context, v *schema.View) ([]MemberState, error) {
	return d.askAll(ctx, v, func(*ring.Member) bool { return true })
}

// askAll asks the members that of names how far they are, all at once.
func (d *Driver) askAll(ctx context.Context, v *schema.View, of func(*ring.Member) bool) ([]MemberState, error) {
	var all []MemberState
	for i := range v.Ring.Members() {
		if m := v.Ring.Member(uint16(i)); of(m) {
			all = append(all, MemberState{Member: *m})
		}
	}
	var asking sync.WaitGroup
	for i := range all {
		asking.Go(func() { all[i].State, all[i].Err = d.ask(ctx, all[i].ID) })
	}
	asking.Wait()
	return all, ctx.Err()
}

func (d *Driver) begin(since time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.began = since
}

// needed are the members that must have got so far, and what of them.
type needed struct {
	duties   map[ring.NodeID]bool // its ranges are complete
	informed map[ring.NodeID]bool // it serves by the present phase
}

func (d *Driver) needed(v *schema.View, c *ring.Change) needed {
	n := needed{map[ring.NodeID]bool{}, map[ring.NodeID]bool{}}
	for i := range v.Ring.Members() {
		if m := v.Ring.Member(uint16(i)); m.State == ring.Joining && c.Phase == ring.Announced {
			n.informed[m.ID] = true
		}
	}
	transfers := d.transfers(v)
	for i := range transfers {
		x := &transfers[i]
		for _, m := range x.outgoing() {
			n.informed[v.Ring.Member(m).ID] = true
		}
		for _, m := range slices.Concat(x.gained, x.rest) {
			if id := v.Ring.Member(m).ID; !n.duties[id] && d.completes(v, c, x, id) && len(x.duties(v, m)) > 0 {
				n.duties[id] = true
			}
		}
	}
	return n
}

// againFor is how long the end of a change waits for the second comparison.
const againFor = 2 * time.Minute

// completes reports whether the next phase waits until a member has what it takes over:
// before reads ask it; and once more when they do and those that lose the range refuse
// whoever does not know, since they may have shown meanwhile what was not acknowledged.
// That one is not worth waiting for a member that is down, nor for ever.
func (d *Driver) completes(v *schema.View, c *ring.Change, x *transfer, id ring.NodeID) bool {
	switch c.Phase {
	case ring.Streaming:
		return true
	case ring.Flipped:
		d.mu.Lock()
		late := time.Since(d.began) > againFor
		d.mu.Unlock()
		return !late && len(v.Ring.Leaving(x.placement, x.id)) > 0 && (id == d.env.Self || d.env.Alive(id))
	}
	return false
}

// reason keeps a change from its next phase.
type reason struct {
	text     string
	ordinary bool // work that goes on
}

// waiting lists what keeps a change from its next phase.
func (d *Driver) waiting(ctx context.Context, v *schema.View, c *ring.Change) ([]reason, error) {
	n := d.needed(v, c)
	asked, err := d.askAll(ctx, v, func(m *ring.Member) bool { return n.duties[m.ID] || n.informed[m.ID] || handsOver(c, m) })
	if err != nil {
		return nil, err
	}
	return d.reasons(v, c, n, asked), nil
}

// handsOver reports whether a member has to get rid of its hints before it may leave.
func handsOver(c *ring.Change, m *ring.Member) bool {
	return m.State == ring.Leaving && c.Phase == ring.Flipped && c.WaitsFor(m)
}

// reasons are what keeps a change from its next phase, as far as the members tell.
func (d *Driver) reasons(v *schema.View, c *ring.Change, n needed, members []MemberState) (all []reason) {
	add := func(ordinary bool, format string, args ...any) {
		all = append(all, reason{fmt.Sprintf(format, args...), ordinary})
	}
	if left := v.Ring.Expects(); left > 0 {
		add(false, "%d of %d nodes have asked to join: start the others with --join-count %d, or abort the change (dunlin layout abort)", c.Expect-left, c.Expect, c.Expect)
	}
	silent, partly := map[ring.NodeID]error{}, map[ring.NodeID]int{} // partly: ranges that a node has in quarantine
	wanted := map[string]int{}                                       // ranges that have to come from a node
	for i := range members {
		m, s := &members[i].Member, &members[i].State
		leaves := handsOver(c, m)
		if !n.duties[m.ID] && !n.informed[m.ID] && !leaves {
			continue
		}
		partly[m.ID] = s.Quarantined
		switch {
		case members[i].Err != nil:
			silent[m.ID] = members[i].Err
		case s.Generation != v.Generation || s.Version < max(c.ID, v.Ring.MaxChangedAt()):
			add(false, "node %s has not adopted catalog version %d yet", m.ID, max(c.ID, v.Ring.MaxChangedAt()))
		case n.duties[m.ID] && (s.Done < s.Duties || s.Version < v.Version):
			add(true, "node %s has taken over %d of %d ranges", m.ID, s.Done, s.Duties)
			for id, ranges := range s.WaitsFor {
				wanted[id] += ranges
			}
		case leaves && s.Held > 0:
			add(false, "node %s has %d hints to hand over before it leaves", m.ID, s.Held)
		}
	}
	for i := range v.Ring.Members() {
		m := v.Ring.Member(uint16(i))
		switch ranges := wanted[m.ID.String()]; {
		case silent[m.ID] != nil || ranges > 0 && m.ID != d.env.Self && !d.env.Alive(m.ID):
			add(false, "%s", d.blocked(v, m, silent[m.ID], ranges))
		case ranges > 0 && partly[m.ID] > 0:
			add(false, "%s", d.partly(v, m, partly[m.ID]))
		}
	}
	return all
}

// partly says that ranges of a member are waited for that are not whole there.
func (d *Driver) partly(v *schema.View, m *ring.Member, ranges int) string {
	way := "abort the change (dunlin layout abort)"
	switch {
	case v.Ring.Change().Phase == ring.Flipped:
		way = fmt.Sprintf("stop the node, and dunlin node remove %s has the change go on without it", m.ID)
	case v.Ring.Recovers():
		way = "stop the node, and recover again without it (dunlin recover)"
	}
	return fmt.Sprintf("node %s has %d ranges that move in quarantine (dunlin repair status): they are filled again once all other replicas of them answer; "+
		"if that cannot be, %s", m.ID, ranges, way)
}

// blocked says that a member is waited for, and what can be done. err: it did not answer.
func (d *Driver) blocked(v *schema.View, m *ring.Member, err error, ranges int) string {
	var why []string
	if err != nil {
		why = append(why, err.Error())
	}
	if ranges > 0 {
		why = append(why, fmt.Sprintf("%d ranges have to come from it", ranges))
	}
	way := "start it again, or abort the change (dunlin layout abort)"
	switch {
	case v.Ring.Change().Phase == ring.Flipped:
		way = fmt.Sprintf("start it again; if it is lost for good, dunlin node remove %s has the change go on without it", m.ID)
	case v.Ring.Recovers():
		way = "start it again; if it is lost for good too, recover again without it (dunlin recover)"
	case m.State == ring.Normal || m.State == ring.Leaving:
		way += fmt.Sprintf("; if it is lost for good, abort and then remove it, with all others that are lost (dunlin node remove %s …)", m.ID)
	}
	return fmt.Sprintf("node %s does not answer (%s): %s", m.ID, strings.Join(why, "; "), way)
}
