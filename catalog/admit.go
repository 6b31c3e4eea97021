package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/dunlindb/dunlin/catalog/document"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/transport"
)

// peers remembers the highest boot number and clock ceiling that each member has
// shown, so that a member started from an older copy of its directory is noticed.
type peers struct {
	writing slot // one write to Meta at a time, so that an older state never overwrites a newer

	mu    sync.Mutex // guards known
	known map[ring.NodeID]*peer
}

type peer struct {
	shown   Identity // the highest seen
	durable Identity // what of it is in Meta
	written time.Time
}

// admits a node under an identity, or says why not. It returns what must be made
// durable before the node is dealt with, if anything is due.
func (p *peers) check(id Identity, every time.Duration) (due bool, err error) {
	refuse := func(reason, f string, args ...any) (bool, error) {
		return false, &RefusedError{Node: id.Node.String(), Reason: reason, Detail: fmt.Sprintf(f, args...)}
	}
	if id.Store == uuid.Nil || id.Boot == 0 {
		return refuse("store", "it names no store or boot number")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.known[id.Node]
	if known == nil {
		known = &peer{shown: id}
		p.known[id.Node] = known
	}
	const older = "it may have been started from an older copy of its directory, and so have forgotten what it acknowledged: " +
		"wipe the directory and replace the node"
	switch {
	case id.Store != known.shown.Store:
		return refuse("store", "its store is %s, it was %s before: %s", id.Store, known.shown.Store, older)
	case id.Boot < known.shown.Boot:
		return refuse("boot", "it shows start number %d after %d: %s", id.Boot, known.shown.Boot, older)
	case id.Boot == known.shown.Boot && id.Start != known.shown.Start:
		return refuse("boot", "it shows start number %d a second time: %s", id.Boot, older)
	case id.Ceiling < known.shown.Ceiling:
		return refuse("ceiling", "it shows a clock ceiling %s below the one before: %s", known.shown.Ceiling.Time().Sub(id.Ceiling.Time()), older)
	}
	known.shown.Boot, known.shown.Start, known.shown.Ceiling = id.Boot, id.Start, id.Ceiling
	rose := known.shown.Ceiling > known.durable.Ceiling
	return known.shown.Boot > known.durable.Boot || (rose && time.Since(known.written) >= every), nil
}

// state returns what should be durable of a node, and whether it is.
func (p *peers) state(node ring.NodeID) (shown Identity, durable bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.known[node]
	return known.shown, known.shown == known.durable
}

func (p *peers) wrote(id Identity) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.known[id.Node]
	known.durable, known.written = id, time.Now()
}

func (c *Catalog) loadPeers() error {
	c.peers = &peers{writing: newSlot(), known: map[ring.NodeID]*peer{}}
	d := c.belongs()
	if d == nil {
		return nil
	}
	for _, m := range d.Layout.Members {
		text, ok, err := c.env.Meta.Get(peerPrefix + m.ID.String())
		if err != nil {
			return fmt.Errorf("catalog: read what is remembered of node %s: %w", m.ID, err)
		}
		if !ok {
			continue
		}
		var id Identity
		if err := json.Unmarshal(text, &id); err != nil || id.Node != m.ID {
			return fmt.Errorf("catalog: what is remembered of node %s cannot be read (%q)", m.ID, text)
		}
		c.peers.known[m.ID] = &peer{shown: id, durable: id}
	}
	return nil
}

// vouch refuses a member that shows less than it once did, and remembers what it
// shows: a new boot number durably before it returns.
func (c *Catalog) vouch(id Identity) error {
	due, err := c.peers.check(id, c.cfg.RememberEvery)
	if err != nil || !due {
		return err
	}
	// Not bounded by a caller's context: the wait is for a few synced writes.
	if err := c.peers.writing.acquire(context.Background()); err != nil {
		return err
	}
	defer c.peers.writing.release()
	shown, durable := c.peers.state(id.Node)
	if durable {
		return nil
	}
	text, err := json.Marshal(shown)
	if err != nil {
		return fmt.Errorf("catalog: encode the identity of node %s: %w", id.Node, err)
	}
	if err := c.env.Meta.Set(peerPrefix+id.Node.String(), text); err != nil {
		return fmt.Errorf("catalog: remember the identity of node %s: %w", id.Node, err)
	}
	c.peers.wrote(shown)
	return nil
}

// Admit decides whether a node that says hello belongs here: same cluster and
// generation, a member, not an older copy of itself. The first hello after a
// member's restart costs a synced write.
func (c *Catalog) Admit(h transport.Hello) error {
	err := c.admit(h)
	if err != nil {
		c.refused(h, err)
	}
	return err
}

func (c *Catalog) admit(h transport.Hello) error {
	cur := c.current.Load()
	if cur == nil {
		return ErrNoCatalog
	}
	if err := c.checkCluster(cur, h); err != nil {
		return err
	}
	if _, ok := cur.doc.Member(h.Node); !ok {
		if r, removed := cur.doc.WasRemoved(h.Node); removed {
			return &GoneError{Kind: r.Kind, Version: r.Version}
		}
		if h.Version > cur.doc.Version {
			c.Learn(h.Node, h.Version) // it may be a member by a document that we lack
		}
		return &RefusedError{Node: h.Node.String(), Reason: "unknown",
			Detail: fmt.Sprintf("it is not a member by version %d of the catalog; if it was removed, wipe its directory and join again", cur.doc.Version)}
	}
	return c.vouch(Identity{Node: h.Node, Store: h.Store, Boot: h.Boot, Start: h.Start, Ceiling: h.Ceiling})
}

func (c *Catalog) checkCluster(cur *edition, h transport.Hello) error {
	if h.Cluster != cur.doc.Cluster {
		return foreign("node "+h.Node.String(), h, cur.doc)
	}
	if h.Generation < cur.doc.Generation {
		if r, removed := cur.doc.WasRemoved(h.Node); removed {
			return &GoneError{Kind: r.Kind, Version: r.Version}
		}
		if _, ok := cur.doc.Member(h.Node); ok {
			if cur.doc.GaveUp(h.Node, h.Generation) {
				return &GoneError{Kind: document.KindRecover, Version: cur.doc.Version}
			}
			return nil // a survivor that has to hear of the recovery yet
		}
		return &RefusedError{Node: h.Node.String(), Reason: "generation",
			Detail: fmt.Sprintf("it has generation %d of the catalog, this cluster was recovered to generation %d without it: "+
				"wipe its directory to join as a new node; if it was only joining, start it again", h.Generation, cur.doc.Generation)}
	}
	return nil
}

// checkCaller decides whether a control call about agreement may be answered. A
// node that we do not know, but whose document is newer, may have joined since.
func (c *Catalog) checkCaller(h transport.Hello) error {
	cur := c.current.Load()
	if cur == nil {
		return ErrNoCatalog
	}
	err := c.checkCluster(cur, h)
	if _, member := cur.doc.Member(h.Node); err == nil && (member || !cur.newer(h.Generation, h.Version)) {
		err = c.admit(h)
	}
	if err != nil {
		c.refused(h, err)
	}
	return err
}

// refused counts a refusal, and logs it at a bounded rate.
func (c *Catalog) refused(h transport.Hello, err error) {
	reason := "failed"
	switch e := err.(type) {
	case *RefusedError:
		reason = e.Reason
	case *GoneError:
		reason = "removed"
	case *ForeignError:
		reason = "cluster"
	default:
		if err == ErrNoCatalog {
			reason = "unjoined"
		}
	}
	c.metrics.refusals.WithLabelValues(reason).Inc()
	c.quiet.warn(reason+h.Node.String(), "node refused", "node", h.Node, "cluster", h.ClusterName, "error", err)
}

// quieter logs a recurring warning once per quietFor and key.
type quieter struct {
	log  *slog.Logger
	mu   sync.Mutex // guards last
	last map[string]time.Time
}

const (
	quietFor  = 10 * time.Second
	quietKeys = 1024 // beyond, all is forgotten
	hintsMax  = 64   // words of newer documents that may wait
)

func newQuieter(log *slog.Logger) *quieter {
	return &quieter{log: log, last: map[string]time.Time{}}
}

func (q *quieter) warn(key, message string, args ...any) {
	q.mu.Lock()
	now := time.Now()
	at, seen := q.last[key]
	quiet := seen && now.Sub(at) < quietFor
	if !quiet {
		if len(q.last) >= quietKeys {
			clear(q.last)
		}
		q.last[key] = now
	}
	q.mu.Unlock()
	if !quiet {
		q.log.Warn(message, args...)
	}
}
