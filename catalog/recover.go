package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/dunlindb/dunlin/catalog/document"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/transport"
)

// Recover makes survivors, of which this node is one, the only voters of a cluster
// that has lost its majority for good, and begins to fill up what the others held.
// All survivors have to answer, and the newest document that one of them has is what is
// recovered; none of the others may be alive. A change on its way is aborted, or
// finished if reads ask its target already. The survivor with the smallest id decides
// which recovery it is if there are several at once. Calls may be repeated, at any
// survivor.
func (c *Catalog) Recover(ctx context.Context, survivors []ring.NodeID, reason string, now time.Time, alive func(ring.NodeID) bool) error {
	survivors = sorted(survivors)
	cur, raw, err := c.prepared(ctx, survivors, reason, now, alive)
	switch {
	case errors.Is(err, ErrUnchanged):
		return c.spread(ctx, survivors) // who has missed it
	case err != nil:
		return err
	}
	if m, _ := cur.doc.Member(survivors[0]); m.ID == c.self {
		err = c.handleRecover(ctx, c.Hello(), raw)
	} else {
		_, err = c.control(ctx, m, callRecover, raw)
	}
	if err != nil {
		return document.Conflictf("survivor %s, which decides on recoveries, has not agreed, or its answer was lost: repeat the command (%v)", survivors[0], err)
	}
	c.log.Warn("RECOVERY: a majority is given up for lost", "generation", cur.doc.Generation+1, "survivors", survivors, "reason", reason)
	if err := c.adopt(context.WithoutCancel(ctx), raw); err != nil {
		return err
	}
	return c.spread(ctx, survivors)
}

// CheckRecovery returns what would keep Recover from its work. Nothing is recovered.
func (c *Catalog) CheckRecovery(ctx context.Context, survivors []ring.NodeID, reason string, now time.Time, alive func(ring.NodeID) bool) error {
	if _, _, err := c.prepared(ctx, sorted(survivors), reason, now, alive); !errors.Is(err, ErrUnchanged) {
		return err
	}
	return nil
}

// prepared is what is recovered, and what it becomes: ErrUnchanged if it was recovered
// already.
func (c *Catalog) prepared(ctx context.Context, survivors []ring.NodeID, reason string, now time.Time, alive func(ring.NodeID) bool) (cur *edition, raw []byte, err error) {
	if cur, err = c.newestOf(ctx, survivors); err != nil {
		return nil, nil, err
	}
	raw, err = c.recovered(cur, document.Recovery{At: now.UTC(), By: c.self, Survivors: survivors, Reason: reason}, alive)
	return cur, raw, err
}

// sorted is a sorted copy, each once.
func sorted(ids []ring.NodeID) []ring.NodeID {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, func(a, b ring.NodeID) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(ids)
}

// newestOf asks all survivors what they have, and returns the newest of it.
func (c *Catalog) newestOf(ctx context.Context, survivors []ring.NodeID) (*edition, error) {
	cur := c.current.Load()
	if cur == nil {
		return nil, ErrNoCatalog
	}
	for _, id := range survivors {
		m, ok := cur.doc.Member(id)
		if !ok || id == c.self {
			continue // strangers are refused later, for what they are
		}
		if err := c.catchUpWith(ctx, m); err != nil {
			return nil, err
		}
	}
	return c.current.Load(), nil
}

func (c *Catalog) catchUpWith(ctx context.Context, m ring.Member) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.CallTimeout)
	defer cancel()
	at := c.env.Caller.Where(m)
	h, err := c.env.Caller.Probe(ctx, at)
	if err != nil || h.Node != m.ID {
		return document.Conflictf("survivor %s does not answer at %s: all of them have to (%v)", m.ID, at, err)
	}
	if !c.current.Load().newer(h.Generation, h.Version) {
		return nil
	}
	if err := c.pull(ctx, m); err != nil {
		return document.Conflictf("survivor %s has version %d (generation %d) of the catalog, which is newer than here and cannot be had: recover there (%v)",
			m.ID, h.Version, h.Generation, err)
	}
	return nil
}

// recovered is the encoded document of a recovery.
func (c *Catalog) recovered(cur *edition, r document.Recovery, alive func(ring.NodeID) bool) ([]byte, error) {
	d, err := cur.doc.Recovered(r, alive)
	if err != nil {
		return nil, err
	}
	d.Format, d.Version, d.Generation, d.Previous = document.Format, cur.doc.Version+1, cur.doc.Generation+1, cur.hash
	if d.Proposal, err = uuid.NewRandomFromReader(c.env.Entropy); err != nil {
		return nil, fmt.Errorf("catalog: make a proposal id: %w", err)
	}
	raw, err := document.Encode(&d)
	if err != nil {
		return nil, err
	}
	_, err = decode(raw)
	return raw, err
}

// handleRecover decides on a recovery, as the survivor with the smallest id: the first
// one of a generation is the one, if this node knows nothing that it leaves out.
func (c *Catalog) handleRecover(ctx context.Context, from transport.Hello, raw []byte) error {
	next, err := decode(raw)
	if err != nil {
		return err
	}
	if err := c.recovering.acquire(ctx); err != nil {
		return fmt.Errorf("catalog: waiting for another recovery: %w", err)
	}
	defer c.recovering.release()
	cur := c.current.Load()
	if cur == nil {
		return ErrNoCatalog
	}
	if _, ok := cur.doc.Member(from.Node); !ok || next.doc.Cluster != cur.doc.Cluster || next.doc.Generation == 0 {
		return document.Invalidf("node %s recovers another cluster", from.Node)
	}
	if cur.hash != next.hash && cur.above(next.doc.Generation-1, next.doc.Version-1) {
		return document.Conflictf("node %s has version %d (generation %d) of the catalog meanwhile, by another recovery or change",
			c.self, cur.doc.Version, cur.doc.Generation)
	}
	return c.adopt(context.WithoutCancel(ctx), raw)
}

// spread has the other survivors of a recovery hear of it, and returns who has not.
func (c *Catalog) spread(ctx context.Context, survivors []ring.NodeID) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.CallTimeout)
	defer cancel()
	e := c.current.Load()
	errs := make([]error, len(survivors))
	var wg sync.WaitGroup
	for i, id := range survivors {
		if m, ok := e.doc.Member(id); ok && id != c.self {
			wg.Go(func() {
				if _, err := c.control(ctx, m, callLearn, e.raw); err != nil {
					errs[i] = fmt.Errorf("catalog: the cluster is recovered, but survivor %s learns of it later: %w", id, err)
				}
			})
		}
	}
	wg.Wait()
	return errors.Join(errs...)
}
