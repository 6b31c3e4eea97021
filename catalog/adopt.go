package catalog

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/dunlindb/dunlin/catalog/document"
)

// adopt takes a decided document, unless this node has it or a later one: makes it
// durable, has the node serve by it, and shows it.
func (c *Catalog) adopt(ctx context.Context, raw []byte) error {
	if cur := c.current.Load(); cur != nil && sha256.Sum256(raw) == cur.hash {
		return nil
	}
	next, err := decode(raw)
	if err != nil {
		return err
	}
	if err := c.adopting.acquire(ctx); err != nil {
		return err
	}
	defer c.adopting.release()
	cur := c.current.Load()
	if cur != nil {
		if next.doc.Cluster != cur.doc.Cluster {
			return &ForeignError{What: "a document", Theirs: next.doc.Cluster.String(), Ours: cur.doc.Cluster.String()}
		}
		if !cur.newer(next.doc.Generation, next.doc.Version) {
			return c.agree(cur, next)
		}
	}
	if cur == nil && c.was.above(next.doc.Generation, next.doc.Version) {
		return fmt.Errorf("catalog: version %d is older than what this node has joined by", next.doc.Version)
	}
	if _, ok := next.doc.Member(c.self); !ok || cur != nil && next.doc.GaveUp(c.self, cur.doc.Generation) {
		return c.leave(next)
	}
	if err := c.env.Meta.Set(documentKey, raw); err != nil {
		return fmt.Errorf("catalog: store version %d: %w", next.doc.Version, err)
	}
	c.durable.Store(next)
	c.previous.Store(cur)
	if err := c.env.OnAdopt(next.view); err != nil {
		return fmt.Errorf("catalog: adopt version %d: %w", next.doc.Version, err)
	}
	c.current.Store(next)
	signal(c.adopted)
	if cur == nil {
		close(c.entered)
	}
	c.metrics.adoptions.Inc()
	c.metrics.serve(next)
	c.log.Info("catalog adopted", "version", next.doc.Version, "generation", next.doc.Generation,
		"hash", next.hash.String(), "members", len(next.doc.Layout.Members), "sealed", next.doc.Sealed)
	return nil
}

// leave ends the node's membership, by a document that does not have it, or has it as
// given up by a recovery.
func (c *Catalog) leave(next *edition) error {
	refused := &RefusedError{Node: c.self.String(), Reason: "unknown",
		Detail: fmt.Sprintf("version %d of the catalog does without it", next.doc.Version)}
	if c.current.Load() == nil {
		return refused
	}
	gone, key, why := &GoneError{Version: next.doc.Version}, abortedKey, "aborted"
	if r, ok := next.doc.WasRemoved(c.self); ok {
		gone.Kind, key, why = r.Kind, goneKey, r.Kind
	} else if _, ok := next.doc.Member(c.self); ok {
		gone.Kind, key, why = document.KindRecover, goneKey, document.KindRecover
	}
	// On disk, so that it does not serve by an old document after a restart; first why,
	// since the new one alone may not say.
	if err := c.env.Meta.Set(key, []byte(why)); err != nil {
		return fmt.Errorf("catalog: note that this node is no member any more: %w", err)
	}
	if err := c.env.Meta.Set(documentKey, next.raw); err != nil {
		return fmt.Errorf("catalog: store version %d: %w", next.doc.Version, err)
	}
	c.end(gone)
	return refused
}

// end tells the node that it is no member any more.
func (c *Catalog) end(why *GoneError) {
	if c.env.OnGone != nil && c.gone.CompareAndSwap(false, true) {
		c.log.Warn("this node is no member of the cluster any more", "error", why)
		c.env.OnGone(why)
	}
}

// agree checks that a document which is not newer does not contradict ours.
func (c *Catalog) agree(cur, other *edition) error {
	if other.doc.Generation != cur.doc.Generation || other.doc.Version != cur.doc.Version || other.hash == cur.hash {
		return nil
	}
	c.metrics.conflicts.Inc()
	c.log.Error("two different catalog documents have one version: agreement was broken",
		"version", cur.doc.Version, "ours", cur.hash.String(), "theirs", other.hash.String())
	return document.Invalidf("two different documents have version %d: %s here, %s there", cur.doc.Version, cur.hash, other.hash)
}
