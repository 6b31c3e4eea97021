package antientropy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dunlindb/dunlin/antientropy/message"
	"github.com/dunlindb/dunlin/antientropy/share"
	"github.com/dunlindb/dunlin/antientropy/tree"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

// schedule is what Step goes on with.
type schedule struct {
	view      *schema.View
	peers     map[ring.NodeID]*peer
	order     []*peer // by id
	turn      int     // in order: who comes next
	hash      hashing
	hashTurn  bool
	open      int             // sessions
	buckets   []*tree.Buckets // that no session uses
	wait      wait
	rotate    time.Time // when the next period of settling begins
	persist   time.Time
	purge     time.Time // how far to purge is agreed on again
	notBefore time.Time // the pause that Share asks for
}

// peer is a node that shares ranges with this one.
type peer struct {
	id       ring.NodeID
	targets  []message.Target
	due      time.Time // of the next comparison of roots
	after    time.Time // nothing is asked before: it has failed
	failures int
	queue    []message.Target // that want a session
	deferred map[message.Target]int
	urgent   map[message.Target]struct{}
	session  *session      // nil: none is open
	slow     time.Duration // how long it took to answer last
}

// urgent reports whether somebody waits for a range.
func (s *schedule) urgent(id token.RangeID) bool {
	for _, p := range s.order {
		for placement := range s.view.Ring.Placements() {
			if _, ok := p.urgent[message.Target{Placement: placement, ID: id}]; ok {
				return true
			}
		}
	}
	return false
}

// hurried reports whether there is urgent work that can be done.
func (s *schedule) hurried(now time.Time) bool {
	return slices.ContainsFunc(s.order, func(p *peer) bool { return len(p.urgent) > 0 && !now.Before(p.after) })
}

// Step does one bounded piece of work. idle means that there is nothing to do
// now, or that Config.Share wants a pause. Errors are of this node; those of peers
// are counted and logged, and the peer is left alone for a while.
func (a *AntiEntropy) Step(ctx context.Context) (idle bool, err error) {
	v, now := a.env.Replica.View(), time.Now()
	if v == nil {
		return true, nil
	}
	if err := a.prepare(v); err != nil {
		return false, err
	}
	if now.Before(a.plan.notBefore) {
		return true, nil
	}
	a.plan.wait.all, a.plan.wait.counts = 0, 0
	worked, err := a.work(ctx, v, now)
	if !worked && err == nil {
		return true, nil
	}
	took, share := a.plan.wait.took(now), a.cfg.share(a.plan.hurried(now), a.pace())
	a.metrics.step.Observe(took.Seconds())
	a.plan.notBefore = time.Now().Add(min(time.Duration(float64(took)/share)-took, a.cfg.BackoffMax))
	return false, err
}

func (a *AntiEntropy) pace() float64 {
	if a.env.Pace == nil {
		return 1
	}
	return a.env.Pace()
}

// Pause is how long Config.Share wants Step to be left alone; 0: not at all. It is
// for Step's caller, on the same goroutine.
func (a *AntiEntropy) Pause() time.Duration { return max(0, time.Until(a.plan.notBefore)) }

// work does what is due: housekeeping, or in turn something with a peer and a
// piece of hashing.
func (a *AntiEntropy) work(ctx context.Context, v *schema.View, now time.Time) (worked bool, err error) {
	s := &a.plan
	switch {
	case !now.Before(s.rotate):
		s.rotate = now.Add(a.cfg.Settle)
		a.refresh()
		return true, a.env.Marks.RotateLeaves(ctx)
	case !now.Before(s.persist):
		s.persist = now.Add(a.cfg.Persist)
		return true, a.ledger.Persist()
	case !now.Before(s.purge):
		s.purge = now.Add(a.cfg.Purge.Every)
		return true, a.purge.Step(ctx, v)
	}
	s.hashTurn = !s.hashTurn
	for range 2 {
		if s.hashTurn {
			worked, err = a.hash(ctx, v)
		} else {
			worked, err = a.converse(ctx, v, now)
		}
		if worked || err != nil {
			return worked, err
		}
		s.hashTurn = !s.hashTurn
	}
	return false, nil
}

// prepare takes up a new view, and what has become urgent.
func (a *AntiEntropy) prepare(v *schema.View) error {
	if a.plan.view != v {
		if err := a.meet(v); err != nil {
			return err
		}
		a.plan.view = v
	}
	a.mu.Lock()
	scopes := a.hurried
	a.hurried = nil
	a.mu.Unlock()
	for _, scope := range scopes {
		a.plan.hurry(v, scope)
	}
	return nil
}

// meet finds the peers of a view, and what is shared with each.
func (a *AntiEntropy) meet(v *schema.View) error {
	s := &a.plan
	targets := map[ring.NodeID][]message.Target{}
	for _, t := range share.Targets(v, a.env.Self) {
		for _, other := range share.Others(v, t, a.env.Self) {
			targets[other] = append(targets[other], t)
		}
	}
	before := s.peers
	s.peers, s.order = map[ring.NodeID]*peer{}, nil
	for _, p := range before {
		if p.session != nil {
			a.finish(p, refusal(reasonStale, "the catalog has changed"))
		}
	}
	for id, shared := range targets {
		p := before[id]
		if p == nil {
			p = &peer{id: id, urgent: map[message.Target]struct{}{}}
		}
		// The other side goes the other way, so that the two seldom want a session
		// about the same range at once.
		if bytes.Compare(a.env.Self[:], id[:]) > 0 {
			slices.Reverse(shared)
		}
		p.targets, p.queue, p.deferred = shared, nil, map[message.Target]int{}
		clear(p.urgent)
		s.peers[id] = p
		s.order = append(s.order, p)
	}
	slices.SortFunc(s.order, func(a, b *peer) int { return bytes.Compare(a.id[:], b.id[:]) })
	return errors.Join(a.openAccounts(v), a.purge.Meet(v))
}

// converse does one thing with a peer: goes on with its session, begins one, or
// compares roots. Peers take turns. Those with which something is urgent come first,
// with the sessions that are open already; and those that keep Step waiting come last, for as
// long as they have.
func (a *AntiEntropy) converse(ctx context.Context, v *schema.View, now time.Time) (worked bool, err error) {
	s := &a.plan
	press := slices.ContainsFunc(s.order, func(p *peer) bool { return p.presses(now) })
	for _, rests := range [...]bool{false, true} {
		for _, presses := range [...]bool{true, false} {
			for range s.order {
				p := s.order[s.turn%len(s.order)]
				s.turn = (s.turn + 1) % len(s.order)
				if s.wait.rests(p, now) != rests || presses && !p.presses(now) && (p.session == nil || !press) {
					continue
				}
				if worked, err := a.converseWith(ctx, v, p, now, presses); worked || err != nil {
					return worked, err
				}
			}
		}
	}
	return false, nil
}

// converseWith does one thing with a peer, if there is something to do.
func (a *AntiEntropy) converseWith(ctx context.Context, v *schema.View, p *peer, now time.Time, presses bool) (worked bool, err error) {
	due := !now.Before(p.due)
	switch {
	case p.session != nil:
		a.goOn(ctx, p)
		return true, nil
	case now.Before(p.after) || a.env.Alive != nil && !a.env.Alive(p.id):
		return false, nil
	case len(p.queue) > 0 && !(presses && due) && a.plan.open < a.cfg.Sessions:
		return true, a.start(v, p)
	case due:
		p.due = now.Add(a.cfg.Round)
		if err := a.compareRoots(ctx, v, p); err != nil {
			a.failed(p, "compare roots", err)
		}
		return true, nil
	}
	return false, nil
}

// presses reports whether something urgent can be done with a peer now. What is
// urgent and was not found equal is at the front of the queue; what failed is not in
// it until roots are compared again, so that it holds up nothing.
func (p *peer) presses(now time.Time) bool {
	if len(p.urgent) == 0 {
		return false
	}
	if !now.Before(p.due) {
		return true
	}
	if len(p.queue) == 0 {
		return false
	}
	_, first := p.urgent[p.queue[0]]
	return first
}

// start begins the next session with a peer. A range that the peer is pulling is
// left for the next comparison of roots.
func (a *AntiEntropy) start(v *schema.View, p *peer) error {
	t := p.queue[0]
	p.queue = p.queue[1:]
	if !a.begin(pair{t.ID, p.id}) {
		a.metrics.sessions.WithLabelValues(reasonBusy).Inc()
		return nil
	}
	born, err := a.moment(p.id)
	if err != nil {
		a.end(pair{t.ID, p.id})
		return fmt.Errorf("antientropy: begin a session: %w", err)
	}
	point := a.purge.Point(share.Keyspace(v, t.Placement), t.ID)
	p.session = &session{a: a, view: v, peer: p, target: t, born: born, point: point, filling: a.env.Replica.InQuarantine(t.ID), buckets: a.plan.spare()}
	a.plan.open++
	return nil
}

// spare takes buckets for a session; they are large, so they are used again.
func (s *schedule) spare() *tree.Buckets {
	n := len(s.buckets)
	if n == 0 {
		return &tree.Buckets{}
	}
	b := s.buckets[n-1]
	s.buckets = s.buckets[:n-1]
	return b
}

// goOn takes a peer's session one step on, and ends it when it is verified or fails.
func (a *AntiEntropy) goOn(ctx context.Context, p *peer) {
	if done, err := p.session.advance(ctx); done || err != nil {
		a.finish(p, err)
	}
}

// finish ends a peer's session: it is verified, or has failed.
func (a *AntiEntropy) finish(p *peer, err error) {
	s := p.session
	if s.current != nil {
		s.close()
	}
	p.session = nil
	a.plan.open--
	a.plan.buckets = append(a.plan.buckets, s.buckets)
	a.end(pair{s.target.ID, p.id})
	a.metrics.sessions.WithLabelValues(outcome(err)).Inc()
	if err != nil {
		a.failed(p, "session", err)
		return
	}
	a.well(p)
	a.verified(s.view, p, s.target, s.born)
	if s.repaired.Rows+s.given.Rows > 0 {
		a.env.Logger.Info("anti-entropy: a range was repaired", "peer", p.id, "range", s.target.ID,
			"leaves", s.compared, "rows_pulled", s.repaired.Rows, "bytes_pulled", s.repaired.Bytes,
			"rows_pulled_by_peer", s.given.Rows)
	}
}

// well notes that a peer answers.
func (a *AntiEntropy) well(p *peer) {
	if p.failures > 0 {
		a.env.Logger.Info("anti-entropy: a peer answers again", "peer", p.id, "failures", p.failures)
	}
	p.failures = 0
}

// failed leaves a peer alone for a while. That a range was busy is no fault, and
// one that cannot be read is no reason to leave the others.
func (a *AntiEntropy) failed(p *peer, op string, err error) {
	switch reasonOf(err) {
	case reasonBusy, reasonMoved, reasonPartly:
		return
	case reasonCorrupt:
		a.env.Logger.Error("anti-entropy: rows cannot be read and were not compared", "peer", p.id, "error", err)
		return
	}
	pause := min(a.cfg.BackoffMin<<min(p.failures, 20), a.cfg.BackoffMax)
	if pause <= 0 {
		pause = a.cfg.BackoffMax
	}
	if p.failures == 0 {
		a.env.Logger.Warn("anti-entropy: a peer failed", "op", op, "peer", p.id, "pause", pause, "error", err)
	}
	p.failures++
	p.after = time.Now().Add(pause)
}
