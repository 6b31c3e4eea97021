package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/dunlindb/dunlin/catalog"
	"github.com/dunlindb/dunlin/membership"
	"github.com/dunlindb/dunlin/ring"
)

// Run starts the parts in the order of the diagram in doc.go, serves until ctx
// ends or a part fails, stops them in reverse, and closes the stores.
func (n *Node) Run(ctx context.Context) error {
	g := newGroup()
	err := n.start(g.until(ctx), g)
	if err == nil {
		n.log.Info("ready", "node", n.Self(), "http", n.cfg.listenAddress(n.cfg.Listen.HTTPPort), "took", time.Since(n.started).Round(time.Millisecond))
		g.wait(ctx)
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil // stopped while starting
	}
	n.serving.Store(false)
	n.metrics.ready.Set(0)
	n.log.Info("stopping")
	return errors.Join(err, g.stop(), n.closeStores())
}

// start brings the parts up; ctx bounds it.
func (n *Node) start(ctx context.Context, g *group) error {
	n.log.Info("starting", "node", n.Self(), "version", n.cfg.Version, "data", n.cfg.DataDir, "boot", n.engine.Identity().Boot)
	g.start("clock", n.job(job{name: "clock", every: n.clock.ReserveAhead() / 8, wake: n.clock.Needed(), step: n.reserveClock}))
	g.start("admin", n.doors.runAdmin)
	if v := n.catalog.View(); v != nil {
		n.setPeers(v)
	}
	g.start("transport", n.transport.Run)
	g.start("catalog", n.catalog.Run)
	g.start("membership of the cluster", n.awaitGone)
	if n.View() != nil && len(n.cfg.Join) > 0 {
		// A member of another cluster must not serve here: the node stops then.
		g.start("seeds", func(ctx context.Context) error { return n.catalog.Join(ctx, n.seeds()) })
	}
	if err := n.enter(ctx); err != nil {
		return err
	}
	if err := n.startGossip(g); err != nil {
		return err
	}
	n.bootClock(ctx)
	g.start("skew", n.job(job{name: "skew", every: skewEvery, step: n.checkSkew}))
	g.start("refused", n.job(job{name: "refused", every: skewEvery, step: n.checkRefused}))
	g.start("floors", n.job(job{name: "floors", every: time.Minute, step: n.advanceFloors}))
	if n.hints != nil {
		g.start("hints", n.hints.Run)
	}
	g.start("search", n.job(job{name: "search", every: searchEvery, step: (&searcher{n: n}).step}))
	g.start("returns", n.job(job{name: "returns", every: returnsEvery, step: newReturns(n).step}))
	if n.antientropy != nil {
		g.start("antientropy", n.job(job{
			name: "antientropy", every: antiEntropyEvery, wake: n.antientropy.Wake(), throttle: n.antientropy.Pause, step: n.antientropy.Step,
		}))
	}
	if n.rebuild != nil {
		g.start("rebuild", n.job(job{name: "rebuild", every: rebuildEvery, step: n.rebuild.Step}))
	}
	if n.rebalance != nil {
		g.start("pace", n.job(job{name: "pace", every: n.cfg.coordinator().Pace.Window, step: n.keepPace}))
		g.start("rebalance", n.job(job{name: "rebalance", every: rebalanceEvery, step: n.rebalance.Step}))
		g.start("fill", n.job(job{name: "fill", every: rebalanceEvery, step: n.rebalance.Fill}))
	}
	g.start("scrub", n.job(job{name: "scrub", every: time.Minute, throttle: n.scrub.Pause, step: n.scrub.Step}))
	g.start("coordinator", n.coordinator.Run)
	g.start("http", n.doors.runHTTP)
	n.serving.Store(true)
	n.metrics.ready.Set(1)
	v := n.View()
	n.metrics.info.WithLabelValues(n.Self().String(), v.Cluster.String(), n.cfg.Version).Set(1)
	return nil
}

func (n *Node) job(j job) func(context.Context) error {
	return func(ctx context.Context) error { return runJob(ctx, j, n.metrics, n.log) }
}

// enter makes the node a member: a restart is one already, unless it was only joining.
func (n *Node) enter(ctx context.Context) error {
	switch {
	case n.View() != nil:
		return nil
	case n.cfg.Bootstrap && !n.catalog.Rejoining():
		return n.catalog.Bootstrap(ctx)
	default:
		return n.catalog.Join(ctx, n.seeds())
	}
}

// seeds completes the addresses of cfg.Join with the default port.
func (n *Node) seeds() []string {
	var all []string
	for _, s := range n.cfg.Join {
		if _, _, err := net.SplitHostPort(s); err != nil {
			s = net.JoinHostPort(s, strconv.Itoa(DefaultConfig().Listen.InternodePort))
		}
		all = append(all, s)
	}
	return all
}

// startGossip begins only now: gossip is encrypted with the catalog's key.
func (n *Node) startGossip(g *group) error {
	doc := n.catalog.Document()
	m, err := membership.New(n.cfg.membership(), membership.Env{
		Self: n.Self(), Cluster: doc.Cluster, Key: doc.GossipKey, Network: n.env.Network,
		OnFact: func(id ring.NodeID, f membership.Fact) {
			n.catalog.LearnFact(id, catalog.Fact{Version: f.Version, Generation: f.Generation, Hash: f.Hash})
			n.transport.Heard(id, f.Internode)
		},
		Logger: n.log, Registerer: n.env.Registry,
	})
	if err != nil {
		return fmt.Errorf("node: gossip (listen.gossip_port): %w", err)
	}
	n.mu.Lock()
	n.membership = m
	n.mu.Unlock()
	n.setPeers(n.View())
	g.start("membership", m.Run)
	return nil
}

// advanceFloors proposes retention floors whose time has come; it is a job.
func (n *Node) advanceFloors(ctx context.Context) (idle bool, err error) {
	if err := n.skewed(); err != nil {
		return true, err // a clock far ahead would retire windows for good
	}
	return true, n.catalog.AdvanceFloors(ctx, n.wall.Now())
}

// Unready lists why the node should not be sent requests; none: it is ready.
func (n *Node) Unready() []string {
	var reasons []string
	if n.View() == nil {
		reasons = append(reasons, "this node has not joined a cluster yet")
	}
	if !n.serving.Load() {
		reasons = append(reasons, "this node is starting or stopping")
	}
	if err := n.unfit(); err != nil {
		reasons = append(reasons, err.Error())
	}
	for _, p := range n.transport.Status() {
		if !p.Dialled && p.ID != n.Self() {
			reasons = append(reasons, "the peer at "+p.Address+" has not been dialled yet")
		}
	}
	return reasons
}
