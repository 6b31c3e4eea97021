package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dunlindb/dunlin/catalog/document"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/transport"
)

// hint is word of a newer document.
type hint struct {
	from                ring.NodeID
	generation, version uint64
}

// Learn takes note that a node has a version of the catalog; Run pulls it if it is
// newer. It never blocks, and may be called for every frame.
func (c *Catalog) Learn(from ring.NodeID, version uint64) {
	if cur := c.current.Load(); cur != nil {
		c.learn(hint{from, cur.doc.Generation, version})
	}
}

func (c *Catalog) learn(h hint) {
	if !c.current.Load().newer(h.generation, h.version) || h.from == c.self {
		return
	}
	select {
	case c.hints <- h:
	default:
		c.metrics.dropped.Inc() // more word will come
	}
}

// LearnFact is Learn for a gossiped fact, which also tells when two nodes have
// different documents of one version: that must never be, and is counted.
func (c *Catalog) LearnFact(from ring.NodeID, f Fact) {
	cur := c.current.Load()
	if cur == nil {
		return
	}
	if f.Generation == cur.doc.Generation && f.Version == cur.doc.Version && f.Hash != [32]byte(cur.hash) {
		c.metrics.conflicts.Inc()
		c.quiet.warn("conflict"+from.String(), "another node has a different catalog document of the same version: agreement was broken",
			"node", from, "version", f.Version, "ours", cur.hash.String(), "theirs", Hash(f.Hash).String())
		return
	}
	c.learn(hint{from, f.Generation, f.Version})
}

// runLearner follows up hints. At the start and now and then it asks some member
// unasked.
func (c *Catalog) runLearner(ctx context.Context) {
	c.pullFromAnyone(ctx)
	ticker := time.NewTicker(c.cfg.PullEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case h := <-c.hints:
			if err := c.reach(ctx, h); err != nil && ctx.Err() == nil {
				c.quiet.warn("learn", "a newer catalog cannot be had", "from", h.from, "version", h.version, "error", err)
			}
		case <-ticker.C:
			c.pullFromAnyone(ctx)
		}
	}
}

// pullFromAnyone asks one member, chosen at random, for a newer document.
func (c *Catalog) pullFromAnyone(ctx context.Context) {
	others := c.others(ring.NodeID{})
	if len(others) == 0 {
		return
	}
	err := c.pull(ctx, others[0])
	switch {
	case err == nil || ctx.Err() != nil:
	case permanent(err):
		c.quiet.warn("pull", "another member refuses this node", "member", others[0].ID, "error", err)
	default:
		c.log.Debug("the catalog cannot be compared", "member", others[0].ID, "error", err)
	}
}

// CatchUp returns once this node has adopted at least a version, which a node
// said it has: that node is asked first, then the others.
func (c *Catalog) CatchUp(ctx context.Context, from ring.NodeID, version uint64) error {
	cur := c.current.Load()
	if cur == nil {
		return ErrNoCatalog
	}
	return c.reach(ctx, hint{from, cur.doc.Generation, version})
}

// reach pulls until this node has what a hint promises. A hint of a generation that
// has passed is reached.
func (c *Catalog) reach(ctx context.Context, h hint) error {
	reached := func() bool { return !c.current.Load().newer(h.generation, h.version) }
	if reached() {
		return nil
	}
	ctx, cancel := bounded(ctx, c.cfg.ProposeTimeout)
	defer cancel()
	if err := c.pulling.acquire(ctx); err != nil {
		return fmt.Errorf("catalog: waiting to catch up: %w", err)
	}
	defer c.pulling.release()
	var errs []error
	for _, m := range c.others(h.from) {
		if reached() {
			return nil
		}
		if err := c.pull(ctx, m); err != nil {
			errs = append(errs, err)
		}
	}
	if reached() {
		return nil
	}
	return fmt.Errorf("catalog: no member gave version %d: %w", h.version, errors.Join(errs...))
}

// others are the other members in random order, except that first comes first.
func (c *Catalog) others(first ring.NodeID) []ring.Member {
	cur := c.current.Load()
	if cur == nil {
		return nil
	}
	list := slices.DeleteFunc(slices.Clone(cur.doc.Layout.Members), func(m ring.Member) bool { return m.ID == c.self })
	c.randMu.Lock()
	c.rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	c.randMu.Unlock()
	if i := slices.IndexFunc(list, func(m ring.Member) bool { return m.ID == first }); i > 0 {
		list[0], list[i] = list[i], list[0]
	}
	return list
}

// pull asks a member for a newer document, and adopts it.
func (c *Catalog) pull(ctx context.Context, m ring.Member) (err error) {
	outcome := "unchanged"
	defer func() {
		if err != nil {
			outcome = "failed"
		}
		c.metrics.pulls.WithLabelValues(outcome).Inc()
	}()
	cur := c.current.Load()
	body, err := json.Marshal(pullRequest{Generation: cur.doc.Generation, Version: cur.doc.Version})
	if err != nil {
		return fmt.Errorf("catalog: encode a pull: %w", err)
	}
	call, cancel := context.WithTimeout(ctx, c.cfg.CallTimeout)
	defer cancel()
	text, err := c.control(call, m, callPull, body)
	if typed := (*transport.ControlError)(nil); errors.As(err, &typed) {
		c.refusedAs(cur, typed.Kind)
	}
	if err != nil {
		return fmt.Errorf("catalog: pull from node %s: %w", m.ID, err)
	}
	var answer pullAnswer
	if err := parse(callPull, text, &answer); err != nil {
		return err
	}
	if err := c.checkAnswer(m.ID, answer.Self); err != nil {
		return err
	}
	if len(answer.Document) == 0 {
		return nil
	}
	outcome = "newer"
	return c.adopt(ctx, answer.Document)
}

// refusedAs ends the node's membership if another member does not know it any more.
func (c *Catalog) refusedAs(cur *edition, kind string) {
	switch {
	case kind == kindGone:
		c.end(c.removed(cur.doc))
	case kind == kindUnknown && cur.doc.OnlyJoins(c.self):
		c.end(&GoneError{Version: cur.doc.Version})
	}
}

// removed notes that this node, which last had a document, may not come back.
func (c *Catalog) removed(d *Document) *GoneError {
	gone := &GoneError{Kind: "removed", Version: d.Version}
	if me, _ := d.Member(c.self); me.State == ring.Leaving {
		gone.Kind = document.KindDecommission // it missed only that it is over
	}
	// On disk, so that it does not serve by its old document after a restart.
	if err := c.env.Meta.Set(goneKey, []byte(gone.Kind)); err != nil {
		c.log.Warn("that this node is no member any more is not stored", "error", err)
	}
	return gone
}

func (c *Catalog) handlePull(from transport.Hello, body []byte) ([]byte, error) {
	var req pullRequest
	if err := parse(callPull, body, &req); err != nil {
		return nil, err
	}
	if err := c.checkCaller(from); err != nil {
		return nil, err
	}
	answer := pullAnswer{Self: c.identity()}
	if known := c.durable.Load(); known.above(req.Generation, req.Version) {
		answer.Document = known.raw
	}
	c.learn(hint{from.Node, req.Generation, req.Version})
	return json.Marshal(answer)
}

// handleLearn adopts a document that another member says was decided.
func (c *Catalog) handleLearn(ctx context.Context, from transport.Hello, raw []byte) error {
	if err := c.checkCaller(from); err != nil {
		return err
	}
	// A sender that gives up waiting must not interrupt the adoption.
	return c.adopt(context.WithoutCancel(ctx), raw)
}

// runAnnouncer tells all members of documents decided here, so that they need not
// wait for gossip. Who misses it learns from requests, gossip or a pull.
func (c *Catalog) runAnnouncer(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.announce:
			c.tell(ctx, c.current.Load())
		}
	}
}

func (c *Catalog) tell(ctx context.Context, e *edition) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.CallTimeout)
	defer cancel()
	var wg sync.WaitGroup
	all := c.others(ring.NodeID{})
	if before := c.previous.Load(); before != nil { // who is none any more must hear it too
		all = append(all, slices.DeleteFunc(slices.Clone(before.doc.Layout.Members), func(m ring.Member) bool {
			_, is := e.doc.Member(m.ID)
			return is
		})...)
	}
	for _, m := range all {
		wg.Go(func() {
			if _, err := c.control(ctx, m, callLearn, e.raw); err != nil {
				c.log.Debug("a member was not told of the new catalog", "member", m.ID, "version", e.doc.Version, "error", err)
			}
		})
	}
	wg.Wait()
}
