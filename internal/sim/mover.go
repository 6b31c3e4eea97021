package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/dunlindb/dunlin/admin"
	"github.com/dunlindb/dunlin/internal/sim/layouts"
	"github.com/dunlindb/dunlin/node"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
)

// operated is a node that operators can change the layout with: *node.Node.
type operated interface {
	holder
	layouter
}

// layouter changes the layout.
type layouter interface {
	Decommission(ctx context.Context, id ring.NodeID) error
	Remove(ctx context.Context, ids ...ring.NodeID) error
	Replace(ctx context.Context, id ring.NodeID) error
	Replicate(ctx context.Context, keyspace string, factors map[string]int) error
	Abort(ctx context.Context) (admin.Aborted, error)
}

var _ operated = (*node.Node)(nil)

// mover is an operator who changes the layout again and again.
type mover struct {
	c      *Cluster
	rand   *rand.Rand
	losses bool // machines may burn
	burnt  int  // how many did
	last   time.Time
	seen   layouts.Watch
	log    []string
}

// opPatience is how long an operator waits for one command.
const opPatience = 20 * time.Second

// burnEvery is the least time between two machines that burn: what only one other
// replica has must have reached a third.
const burnEvery = 8 * time.Minute

// run changes the layout until ctx ends.
func (m *mover) run(ctx context.Context) {
	m.last = time.Now().Add(-burnEvery / 2)
	due := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
		m.watch()
		if !time.Now().Before(due) {
			m.change(ctx)
			due = time.Now().Add(time.Duration(1+m.rand.IntN(4)) * time.Second)
		}
	}
}

// watch looks at the layouts that nodes serve by.
func (m *mover) watch() {
	for _, h := range m.c.holders() {
		m.seen.See(h.Self(), h.View())
	}
}

// at is the node of some machine that is up and a member in good standing.
func (m *mover) at(except int) (operated, bool) {
	with := m.c.present()
	m.rand.Shuffle(len(with), func(i, j int) { with[i], with[j] = with[j], with[i] })
	for _, i := range with {
		if n, ok := m.c.operated(i); ok && i != except {
			return n, true
		}
	}
	return nil, false
}

// operated is the node of a machine, if it is up and a member.
func (c *Cluster) operated(i int) (operated, bool) {
	m := c.machines[i]
	m.turn <- struct{}{}
	defer func() { <-m.turn }()
	if m.boot == nil || m.absent.Load() {
		return nil, false
	}
	n, ok := m.boot.node.(operated)
	return n, ok && n.View() != nil
}

// change does one thing, as far as the cluster lets it.
func (m *mover) change(ctx context.Context) {
	with, without := m.c.present(), m.c.without()
	n, ok := m.at(-1)
	if !ok {
		return
	}
	members := n.View().Ring.Members()
	if n.View().Ring.Change() != nil && m.rand.IntN(10) > 0 {
		return // mostly one at a time; sometimes two at once, or an abort
	}
	switch draw := m.rand.IntN(100); {
	case draw < 8:
		m.do(ctx, "abort", func(ctx context.Context) error {
			_, err := n.Abort(ctx)
			return err
		})
	case draw < 16:
		factor := 3 + m.rand.IntN(2)
		m.do(ctx, fmt.Sprint("replication factor ", factor), func(ctx context.Context) error {
			return n.Replicate(ctx, schema.BuiltinKeyspace, map[string]int{"dc1": factor})
		})
	case draw < 40 && m.losses && members > 4 && time.Since(m.last) > burnEvery:
		m.burn(ctx, with[m.rand.IntN(len(with))])
	case len(without) > 0 && (members <= 4 || draw < 65):
		i := without[m.rand.IntN(len(without))]
		m.note("machine %d joins", i)
		m.c.Enter(i)
	case members > 4:
		i := with[m.rand.IntN(len(with))]
		if leaver, ok := m.c.operated(i); ok {
			m.do(ctx, fmt.Sprint("machine ", i, " leaves"), func(ctx context.Context) error { return n.Decommission(ctx, leaver.Self()) })
		}
	}
}

func (m *mover) do(ctx context.Context, what string, f func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, opPatience)
	defer cancel()
	m.note("%s: %v", what, f(ctx))
}

func (m *mover) note(f string, args ...any) {
	m.log = append(m.log, fmt.Sprintf("%10s  ", m.c.Elapsed().Round(time.Millisecond))+fmt.Sprintf(f, args...))
}

// replacePatience is after how long a node is removed whose replacement does not come,
// such as when its join was aborted for another's and it has joined as any node since.
const replacePatience = 3 * time.Minute

// burnPatience bounds how long a dead node may take to be given up.
const burnPatience = 15 * time.Minute

// burn loses a machine for good, and has its node removed or replaced, even if the
// faults end meanwhile.
func (m *mover) burn(ctx context.Context, i int) {
	n, ok := m.c.operated(i)
	if !ok {
		return
	}
	dead, version, replace := n.Self(), n.View().Version, m.rand.IntN(2) == 0
	m.c.machines[i].absent.Store(true)
	m.c.Kill(i, true, 0)
	m.c.machines[i].disk.Wipe()
	m.last = time.Now()
	m.burnt++
	m.note("machine %d burns, replaced: %v", i, replace)
	armed := false
	ctx = context.WithoutCancel(ctx)
	for m.isMember(dead, version) && time.Since(m.last) < burnPatience {
		time.Sleep(time.Second)
		m.watch()
		other, ok := m.at(i)
		if !ok {
			continue
		}
		try, cancel := context.WithTimeout(ctx, opPatience)
		switch change := other.View().Ring.Change(); {
		case m.settling(other, dead):
		case change != nil && change.Phase == ring.Flipped:
			_ = other.Remove(try, dead) // so that the change does without it
		case change != nil:
			_, _ = other.Abort(try) // it may wait for the dead
		case !replace || time.Since(m.last) > replacePatience:
			_ = other.Remove(try, dead)
		case !armed:
			armed = other.Replace(try, dead) == nil
		case m.c.machines[i].absent.Load():
			m.c.Enter(i)
		default:
			armed = false // somebody may have taken the order back
		}
		cancel()
	}
}

// settling reports whether the change on its way gives a node up.
func (m *mover) settling(n operated, dead ring.NodeID) bool {
	r := n.View().Ring
	i, ok := r.Index(dead)
	return ok && r.Member(i).State == ring.Dead
}

// isMember reports whether anybody who knows a version of the catalog has a node as a
// member, or nobody is up who could tell.
func (m *mover) isMember(id ring.NodeID, version uint64) bool {
	known := false
	for _, h := range m.c.holders() {
		v := h.View()
		if v.Version < version {
			continue
		}
		if _, is := v.Ring.Index(id); is {
			return true
		}
		known = true
	}
	return !known
}

// awaitSettled waits until no change is on its way and all nodes have the same
// catalog, at most for a patience, and returns what keeps it.
func (c *Cluster) awaitSettled(patience time.Duration) (left string) {
	for began := time.Now(); ; time.Sleep(time.Second) {
		left = ""
		versions := map[uint64]uuid.UUID{}
		for _, h := range c.holders() {
			v := h.View()
			versions[v.Version] = v.Cluster
			if change := v.Ring.Change(); change != nil {
				left = fmt.Sprintf("a change %s is still %s: %s", change.Kind, change.Phase, progressOf(h))
			}
			if left == "" {
				left = c.unclean(h)
			}
		}
		if left == "" && len(versions) > 1 {
			left = fmt.Sprintf("nodes serve by different catalogs: %v", versions)
		}
		if left == "" || time.Since(began) > patience {
			return left
		}
	}
}

// progressOf is how far a change is, as a node tells.
func progressOf(h holder) string {
	n, ok := h.(*node.Node)
	if !ok {
		return ""
	}
	p, err := n.Progress(context.Background())
	if err != nil || p == nil {
		return fmt.Sprint(err)
	}
	return fmt.Sprintf("%d of %d, %+v; %q", p.Done, p.Ranges, p.Nodes, p.Waiting)
}

// unclean names a range that a node has rows of and does not hold.
func (c *Cluster) unclean(h holder) string {
	v := h.View()
	me, member := v.Ring.Index(h.Self())
	leaves, err := h.Replica().AllLeaves(context.Background())
	if err != nil {
		return err.Error()
	}
	for _, l := range leaves {
		if t := v.Table(l.Table); member && t != nil && !v.Ring.Holds(t.Placement, l.Range, me) {
			return fmt.Sprintf("node %s has rows of range %d, which it does not hold", h.Self(), l.Range)
		}
	}
	return ""
}
