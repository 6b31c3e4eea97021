package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/dunlindb/dunlin/catalog/document"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/transport"
)

// Bootstrap makes a new cluster with this node as its only member. If the node is
// a member already, nothing happens.
func (c *Catalog) Bootstrap(ctx context.Context) error {
	if d := c.belongs(); d != nil {
		c.log.Info("this node is a member already: not bootstrapping", "cluster", d.Name, "id", d.Cluster)
		return nil
	}
	cluster, err := uuid.NewRandomFromReader(c.env.Entropy)
	if err != nil {
		return fmt.Errorf("catalog: make the cluster's id: %w", err)
	}
	d := &Document{
		Format: document.Format, Cluster: cluster, Name: c.cfg.Name, Version: 1,
		Settings:  Settings{ReplicationFactor: c.cfg.ReplicationFactor},
		GossipKey: make([]byte, document.GossipKeyBytes),
		Layout:    ring.Bootstrap(c.member(), 1),
		Schema:    schema.Builtin(c.cfg.ReplicationFactor, c.cfg.Datacenter),
	}
	if d.Proposal, err = uuid.NewRandomFromReader(c.env.Entropy); err != nil {
		return fmt.Errorf("catalog: make a proposal id: %w", err)
	}
	if _, err := io.ReadFull(c.env.Entropy, d.GossipKey); err != nil {
		return fmt.Errorf("catalog: make the gossip key: %w", err)
	}
	raw, err := document.Encode(d)
	if err != nil {
		return err
	}
	c.log.Info("new cluster", "name", d.Name, "id", d.Cluster, "replication_factor", c.cfg.ReplicationFactor)
	return c.adopt(ctx, raw)
}

// Join asks the nodes at seeds, one after another and again after a pause, to
// propose this node as a member, until one has or ctx ends. A refusal that will
// not change, such as that of a sealed cluster, is returned at once. If the node is
// a member already, seeds are only checked to be of the same cluster. A node that was
// joining when it stopped asks the members too: it goes on if it is joining still, and
// joins anew if it was dropped, unless there are no seeds.
func (c *Catalog) Join(ctx context.Context, seeds []string) error {
	if c.belongs() != nil {
		if err := c.checkSeeds(ctx, seeds); err != nil || c.current.Load() != nil {
			return err
		}
	}
	req := joinRequest{Member: c.member(), Together: c.cfg.Together}
	asked := slices.Clone(seeds)
	if c.was != nil {
		req.Was, req.Only = &pullRequest{Generation: c.was.doc.Generation, Version: c.was.doc.Version}, len(seeds) == 0
		for _, m := range c.was.doc.Layout.Members {
			if m.ID != c.self && !slices.Contains(asked, m.Internode) {
				asked = append(asked, m.Internode)
			}
		}
	}
	if len(asked) == 0 {
		return errors.New("catalog: joining needs the address of at least one member")
	}
	return c.joinAtAny(ctx, asked, &req)
}

func (c *Catalog) joinAtAny(ctx context.Context, addresses []string, req *joinRequest) error {
	wait := backoff{}
	for {
		var errs []error
		for _, seed := range addresses {
			err := c.joinAt(ctx, seed, req)
			if err == nil {
				return nil
			}
			if typed := (*transport.ControlError)(nil); c.was != nil && errors.As(err, &typed) && typed.Kind == kindGone {
				return c.removed(c.was.doc)
			}
			if permanent(err) {
				return fmt.Errorf("catalog: joining at %s: %w", seed, err)
			}
			errs = append(errs, fmt.Errorf("%s: %w", seed, err))
		}
		c.quiet.warn("join", "not joined yet", "error", errors.Join(errs...))
		if !c.pause(ctx, &wait) {
			return fmt.Errorf("catalog: joining: %w; last: %w", ctx.Err(), errors.Join(errs...))
		}
	}
}

func (c *Catalog) joinAt(ctx context.Context, seed string, req *joinRequest) error {
	body, err := json.Marshal(req)
	if err != nil {
		return fmt.Errorf("catalog: encode a join: %w", err)
	}
	// The member proposes on our behalf, which takes as long as a proposal may.
	ctx, cancel := context.WithTimeout(ctx, c.cfg.ProposeTimeout+c.cfg.CallTimeout)
	defer cancel()
	raw, err := c.env.Caller.Control(ctx, seed, callJoin, body)
	if err != nil {
		return err
	}
	return c.adopt(ctx, raw)
}

// checkSeeds refuses to start a node of one cluster with seeds of another. Seeds
// that do not answer, or belong to no cluster yet, say nothing.
func (c *Catalog) checkSeeds(ctx context.Context, seeds []string) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.CallTimeout)
	defer cancel()
	ours := c.belongs()
	errs := make([]error, len(seeds))
	var wg sync.WaitGroup
	for i, seed := range seeds {
		wg.Go(func() {
			h, err := c.env.Caller.Probe(ctx, seed)
			if err == nil && h.Cluster != uuid.Nil && h.Cluster != ours.Cluster {
				errs[i] = &ForeignError{What: "the node at " + seed, Theirs: fmt.Sprintf("%q (%s)", h.ClusterName, h.Cluster),
					Ours: fmt.Sprintf("%q (%s), whose data is in its directory", ours.Name, ours.Cluster)}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// handleJoin proposes a node as a member, after it was found at its address. A
// node that is a member already gets the document again: an answer may have been
// lost, or it has been restarted. If its addresses are others, it says so later.
func (c *Catalog) handleJoin(ctx context.Context, from transport.Hello, body []byte) ([]byte, error) {
	var req joinRequest
	if err := parse(callJoin, body, &req); err != nil {
		return nil, err
	}
	cur := c.current.Load()
	if cur == nil {
		return nil, ErrNoCatalog
	}
	joiner := req.Member
	if err := c.checkJoiner(cur, from, joiner); err != nil {
		return nil, err
	}
	if known, err := c.known(cur, &req); known || err != nil {
		return cur.raw, err
	}
	if err := c.identify(ctx, joiner); err != nil {
		return nil, err
	}
	if err := c.checkReplaced(ctx, cur.doc); err != nil {
		return nil, err
	}
	start := time.Now()
	err := c.Propose(ctx, func(d Document) (Document, error) { return WithMember(d, joiner, req.Together) })
	if err != nil {
		return nil, err
	}
	cur = c.current.Load()
	c.log.Info("member joined", "member", joiner.ID, "address", joiner.Internode, "zone", joiner.Zone,
		"version", cur.doc.Version, "took", time.Since(start))
	return cur.raw, nil
}

// known reports whether a node that wants to join is a member already, and refuses one
// that may not come back.
func (c *Catalog) known(cur *edition, req *joinRequest) (bool, error) {
	id, was := req.Member.ID, req.Was
	if was != nil && cur.newer(was.Generation, was.Version) {
		return false, fmt.Errorf("catalog: this member has not heard of version %d yet", was.Version)
	}
	if was != nil && cur.doc.GaveUp(id, was.Generation) { // it had become a full member
		return false, &GoneError{Kind: document.KindRecover, Version: cur.doc.Version}
	}
	if _, ok := cur.doc.Member(id); ok {
		return true, nil
	}
	if r, removed := cur.doc.WasRemoved(id); removed {
		return false, &GoneError{Kind: r.Kind, Version: r.Version}
	}
	if req.Only {
		return false, &RefusedError{Node: id.String(), Reason: "aborted", Detail: fmt.Sprintf(
			"its joining was aborted while it was down (catalog version %d): start it with --join to join again", cur.doc.Version)}
	}
	return false, nil
}

func (c *Catalog) checkJoiner(cur *edition, from transport.Hello, joiner ring.Member) error {
	switch {
	case joiner.ID == uuid.Nil || joiner.ID != from.Node:
		return document.Invalidf("node %s asks for the membership of node %s", from.Node, joiner.ID)
	case from.Cluster != uuid.Nil && from.Cluster != cur.doc.Cluster:
		return c.checkCluster(cur, from)
	case joiner.Zone == "" || len(joiner.Zone) > document.NameMax || joiner.Datacenter == "" || len(joiner.Datacenter) > document.NameMax:
		return document.Invalidf("node %s names no zone or datacenter", joiner.ID)
	}
	if err := document.CheckAddresses(joiner.Addresses); err != nil {
		return document.Invalidf("node %s: %v", joiner.ID, err)
	}
	return nil
}

// checkReplaced refuses a joiner that would take the ranges of a node that is back.
func (c *Catalog) checkReplaced(ctx context.Context, d *Document) error {
	if d.Replacing == nil {
		return nil
	}
	dead, _ := d.Member(*d.Replacing)
	ctx, cancel := context.WithTimeout(ctx, c.cfg.CallTimeout)
	defer cancel()
	if h, err := c.env.Caller.Probe(ctx, c.env.Caller.Where(dead)); err != nil || h.Node != *d.Replacing {
		return nil
	}
	return document.Conflictf("node %s is to be replaced by the next node that joins, but it is alive: stop it, or take that back (dunlin layout abort)", d.Replacing)
}

// identify dials a joiner's advertised address: a node that others cannot reach, or
// take for another, or that is of another cluster there, must not become a voter.
func (c *Catalog) identify(ctx context.Context, joiner ring.Member) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.CallTimeout)
	defer cancel()
	h, err := c.env.Caller.Probe(ctx, joiner.Internode)
	if err != nil {
		return fmt.Errorf("catalog: node %s cannot be reached at its advertised address %s: %w", joiner.ID, joiner.Internode, err)
	}
	if h.Node != joiner.ID {
		return &RefusedError{Node: joiner.ID.String(), Reason: "address",
			Detail: fmt.Sprintf("at its advertised address %s answers node %s: check advertise.host", joiner.Internode, h.Node)}
	}
	if d := c.Document(); h.Cluster != uuid.Nil && h.Cluster != d.Cluster {
		return foreign("the node at "+joiner.Internode, h, d)
	}
	return nil
}
