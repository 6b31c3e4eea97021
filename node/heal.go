package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dunlindb/dunlin/admin"
	"github.com/dunlindb/dunlin/antientropy"
	"github.com/dunlindb/dunlin/hinted"
	"github.com/dunlindb/dunlin/mend"
	"github.com/dunlindb/dunlin/replica"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

// openHealing builds what makes replicas equal again, one way or the other.
func (n *Node) openHealing() error {
	if err := n.openHints(); err != nil {
		return err
	}
	return errors.Join(n.openAntiEntropy(), n.openScrub())
}

// openAntiEntropy builds what makes replicas equal in the background.
func (n *Node) openAntiEntropy() error {
	if !n.cfg.AntiEntropy.Enabled {
		return nil
	}
	env := antientropy.Env{
		Self: n.catalog.Self(), Replica: n.replica, Marks: n.replica, Purger: n.replica, Engine: n.engine, Clock: n.clock,
		Call: n.transport.ControlTo, Alive: liveness{n}.Alive, OnCorrupt: n.replica.Quarantine,
		Pace:   func() float64 { return n.rebalance.Pace() },
		Awaits: func(v *schema.View, ks string, id token.RangeID) bool { return n.rebalance.Awaits(v, ks, id) },
		Logger: n.log, Registerer: n.env.Registry,
	}
	if n.hints != nil {
		env.Hints = n.hints
	}
	var err error
	if n.antientropy, err = antientropy.New(n.cfg.antientropy(), env); err != nil {
		return err
	}
	n.rebuild, err = mend.NewRebuild(mend.RebuildEnv{
		Self: n.catalog.Self(), Replica: quarantine{n.replica}, Verified: n.antientropy.Verified,
		Hurry: func(id token.RangeID) { n.antientropy.Hurry(antientropy.Scope{Ranges: []token.RangeID{id}}) },
		Alive: liveness{n}.Alive, Now: n.clock.Now, Logger: n.log, Registerer: n.env.Registry,
	})
	return err
}

// quarantine shows a replica's ranges in quarantine to the one that fills them.
type quarantine struct{ *replica.Replica }

// Quarantined lists them.
func (q quarantine) Quarantined() (all []mend.Range) {
	for _, r := range q.Replica.Quarantined() {
		all = append(all, mend.Range{ID: r.Range, Reason: r.Reason, Undecodable: r.Undecodable, Wiped: r.Wiped})
	}
	return all
}

// rowBytes is about how much is stored; 0 if that is not known.
func (n *Node) rowBytes() uint64 {
	s, err := n.engine.Stats(nil)
	if err != nil {
		return 0
	}
	return s.Bytes
}

// openScrub builds what reads everything again, slowly.
func (n *Node) openScrub() (err error) {
	n.scrub, err = mend.NewScrub(n.cfg.scrub(), mend.ScrubEnv{
		Engine: n.engine, Report: n.replica.Quarantine, Bytes: n.rowBytes, Registerer: n.env.Registry,
	})
	return err
}

// openHints finds what is kept for replicas that missed writes.
func (n *Node) openHints() (err error) {
	if !n.cfg.Hints.Enabled {
		return nil
	}
	n.hints, err = hinted.New(n.cfg.hints(), hinted.Env{
		Hints: n.engine.Hints(), Self: n.catalog.Self(), View: n.catalog.View, Alive: liveness{n}.Alive,
		Apply: n.transport.Apply, OnDrop: n.dropped, Logger: n.log, Registerer: n.env.Registry,
	})
	return err
}

// hold keeps a group for a replica that is not alive, and acknowledges it once
// it is on disk.
func (n *Node) hold(g transport.Group, sink transport.Sink, tag uint32) {
	owner := g.Owner
	v := n.View()
	if n.hints == nil || v == nil {
		sink.Done(tag, transport.Verdict{Code: transport.Failed, Detail: "this node holds no hints"})
		return
	}
	if _, member := v.Ring.Index(owner); !member {
		sink.Done(tag, transport.Verdict{Code: transport.Failed, Detail: fmt.Sprintf("node %s is no member", owner)})
		return
	}
	if me, ok := v.Ring.Index(n.Self()); !ok || v.Ring.Member(me).State != ring.Normal {
		sink.Done(tag, transport.Verdict{Code: transport.Failed, Detail: errHolding.Error()})
		return
	}
	g.Owner = ring.NodeID{}
	n.hints.Hold(owner, &g, sink, tag)
}

// compare answers a member's anti-entropy; nobody else is shown rows.
func (n *Node) compare(ctx context.Context, from transport.Hello, kind string, body []byte) ([]byte, error) {
	v := n.View()
	if v == nil || n.antientropy == nil {
		return nil, &transport.ControlError{Kind: "off", Text: "anti-entropy does not run here"}
	}
	if _, member := v.Ring.Index(from.Node); !member || from.Cluster != v.Cluster {
		return nil, &transport.ControlError{Kind: "refused", Text: fmt.Sprintf("node %s is no member of this cluster", from.Node)}
	}
	return n.antientropy.Handle(ctx, from.Node, kind, body)
}

// isAntiEntropy reports whether a control call is anti-entropy's.
func isAntiEntropy(kind string) bool { return strings.HasPrefix(kind, "antientropy.") }

// antiEntropyEvery is the pause of anti-entropy when it has nothing to do.
const antiEntropyEvery = time.Second

// rebuildEvery is how often ranges in quarantine are looked at.
const rebuildEvery = 2 * time.Second

// returnsEvery is how often peers are looked at for whether they are back.
const returnsEvery = time.Second

// returns notices peers that are back, whose ranges are compared at once.
type returns struct {
	n     *Node
	alive map[ring.NodeID]bool
}

func newReturns(n *Node) *returns { return &returns{n: n, alive: map[ring.NodeID]bool{}} }

// step is a job.
func (r *returns) step(context.Context) (idle bool, err error) {
	v := r.n.View()
	if v == nil {
		return true, nil
	}
	live := liveness{r.n}
	me, member := v.Ring.Index(r.n.Self())
	for i := range v.Ring.Members() {
		m := v.Ring.Member(uint16(i))
		id := m.ID
		if id == r.n.Self() {
			continue
		}
		alive := live.Alive(id)
		if alive && !r.alive[id] {
			r.n.welcome(id, m.State == ring.Joining || member && v.Ring.Member(me).State == ring.Joining)
		}
		r.alive[id] = alive
	}
	return true, nil
}

// welcome makes a peer that is back equal. Where one of the two only joins, the change
// says what is urgent, and the rest would keep it waiting.
func (n *Node) welcome(id ring.NodeID, joining bool) {
	if n.hints != nil {
		n.hints.Wake()
	}
	if n.antientropy != nil && !joining {
		n.antientropy.Hurry(antientropy.Scope{Peer: id})
	}
}

// dropped hears of writes that no hint carries to a replica: its ranges are
// compared at once. No ranges means all.
func (n *Node) dropped(target ring.NodeID, ranges []token.RangeID, _ []uint32) {
	if n.antientropy != nil {
		n.antientropy.Hurry(antientropy.Scope{Peer: target, Ranges: ranges})
	}
}

// Hints is what is kept for other nodes here, by target.
func (n *Node) Hints() admin.Hints {
	if n.hints == nil {
		return admin.Hints{}
	}
	all := admin.Hints{Enabled: true, Targets: []admin.HintTarget{}}
	live := liveness{n}
	for _, t := range n.hints.Status() {
		all.Targets = append(all.Targets, admin.HintTarget{
			Node: t.Target.String(), Alive: t.Target == n.Self() || live.Alive(t.Target), Plain: hintQueue(t.Plain), Counted: hintQueue(t.Counted),
		})
	}
	return all
}

func hintQueue(q hinted.QueueStatus) admin.HintQueue {
	out := admin.HintQueue{
		Hints: q.Hints, Rows: q.Rows, Bytes: q.Bytes, Replaying: q.Replaying, Replayed: q.Replayed,
		BytesPerSecond: q.Rate, RemainingSeconds: q.Remaining.Seconds(), DamagedHints: q.Damaged, LastError: q.LastError,
	}
	if !q.Oldest.IsZero() {
		out.Oldest = &q.Oldest
	}
	return out
}

// ReplayHints makes replay look at once whether targets are alive.
func (n *Node) ReplayHints() error {
	if n.hints == nil {
		return errors.New("hints are switched off: hints.enabled")
	}
	n.hints.Wake()
	return nil
}

// Repair is what anti-entropy has done and has before it.
func (n *Node) Repair() admin.Repair {
	if n.antientropy == nil {
		return admin.Repair{Quarantined: n.quarantined(), Scrub: n.scrubbed()}
	}
	s := n.antientropy.Status()
	r := admin.Repair{
		Quarantined: n.quarantined(), Scrub: n.scrubbed(), Enabled: true, Round: s.Round, Verified: s.Verified, Ranges: s.Ranges, RemainingSeconds: s.Remaining.Seconds(),
	}
	if !s.Started.IsZero() {
		r.Started = &s.Started
	}
	if p := s.Purge; !p.Fence.IsZero() {
		r.Purge.Fence = &p.Fence
	}
	if p := s.Purge; !p.Waiting.IsZero() {
		r.Purge.Waiting = &p.Waiting
	}
	for _, b := range s.Purge.Blockers {
		r.Purge.Blocked = append(r.Purge.Blocked, admin.PurgeBlocked{Node: b.Node.String(), Since: b.Since, Reason: b.Why})
	}
	for _, t := range s.Tables {
		r.Tables = append(r.Tables, admin.TableRepair{
			Name: t.Keyspace + "." + t.Table, OldestUnverifiedSeconds: t.OldestUnverified.Seconds(), NeverVerified: t.Never,
			CleanLeaves: t.Clean, DirtyLeaves: t.Dirty, RowsRepaired: t.Rows, BytesRepaired: t.Bytes,
		})
	}
	return r
}

// PurgePoint is up to when deletions and expired data of a range may be gone here,
// in Unix seconds; 0: nothing is.
func (n *Node) PurgePoint(keyspace string, id token.RangeID) int64 {
	if n.antientropy == nil {
		return 0
	}
	return n.antientropy.PurgePoint(keyspace, id)
}

func (n *Node) quarantined() (all []admin.Quarantined) {
	for _, q := range n.replica.Quarantined() {
		phase := "waiting"
		switch {
		case q.Undecodable:
			phase = "kept"
		case q.Wiped > 0:
			phase = "filling"
		}
		all = append(all, admin.Quarantined{Range: int(q.Range), Since: q.Since, Phase: phase, Reason: q.Reason})
	}
	return all
}

func (n *Node) scrubbed() admin.Scrub {
	s := n.scrub.Status()
	out := admin.Scrub{Started: s.Started, BytesRead: s.Read, BytesTotal: s.Total, DamagedLeaves: s.Damaged}
	if !s.Passed.IsZero() {
		out.Passed = &s.Passed
	}
	return out
}

// RepairNow hurries anti-entropy: for one table, or all if it is empty. The error
// may be a *schema.NotFoundError.
func (n *Node) RepairNow(table string) error {
	v := n.View()
	switch {
	case n.antientropy == nil:
		return errors.New("anti-entropy is switched off: antientropy.enabled")
	case v == nil:
		return errors.New("this node has not joined a cluster yet")
	}
	var scope antientropy.Scope
	if table != "" {
		keyspace, name, _ := strings.Cut(table, ".")
		t := v.TableNamed(keyspace, name)
		if t == nil {
			return &schema.NotFoundError{Table: table}
		}
		scope.Table = t.ID
	}
	n.antientropy.Hurry(scope)
	return nil
}
