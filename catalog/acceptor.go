package catalog

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/dunlindb/dunlin/catalog/document"
	"github.com/dunlindb/dunlin/paxos"
	"github.com/dunlindb/dunlin/transport"
)

// acceptorRecord is this node's vote on one document, durable in Meta. A record of
// another version than the one asked about counts as a fresh one.
type acceptorRecord struct {
	Generation uint64         `json:"generation"`
	Version    uint64         `json:"version"` // to be decided
	State      paxos.Acceptor `json:"state"`
}

func (c *Catalog) handleBallot(ctx context.Context, from transport.Hello, kind string, body []byte) ([]byte, error) {
	var req ballotRequest
	if err := parse(kind, body, &req); err != nil {
		return nil, err
	}
	if err := c.checkCaller(from); err != nil {
		return nil, err
	}
	answer, err := c.vote(ctx, kind, &req)
	if err != nil {
		return nil, err
	}
	return json.Marshal(answer)
}

// vote is this node as an acceptor. What it answers is durable.
func (c *Catalog) vote(ctx context.Context, kind string, req *ballotRequest) (*ballotAnswer, error) {
	// The slot is taken before the edition is read: a record for the version after
	// next can then exist only if this edition is new enough to answer Decided, and
	// a late request never resets it.
	if err := c.voting.acquire(ctx); err != nil {
		return nil, err
	}
	defer c.voting.release()
	answer := &ballotAnswer{Self: c.identity()}
	cur := c.current.Load()
	switch {
	case cur == nil:
		return nil, ErrNoCatalog
	case !cur.newer(req.Generation, req.Version):
		answer.Decided = cur.raw
		return answer, nil
	case req.Generation != cur.doc.Generation || req.Version != cur.doc.Version+1:
		answer.Behind = true
		return answer, nil
	case req.Previous != cur.hash:
		c.metrics.conflicts.Inc()
		return nil, document.Invalidf("version %d was asked to follow document %s, but here version %d is %s: agreement was broken",
			req.Version, req.Previous, cur.doc.Version, cur.hash)
	}
	if me, ok := cur.doc.Member(c.self); !ok || !me.Voter {
		return nil, document.Invalidf("node %s has no vote on version %d", c.self, req.Version)
	}
	record := c.acceptor
	if record.Generation != req.Generation || record.Version != req.Version {
		record = acceptorRecord{Generation: req.Generation, Version: req.Version}
	}
	changed, err := record.step(kind, req, cur, answer)
	if err != nil {
		return nil, err
	}
	if changed {
		if err := c.persist(record); err != nil {
			return nil, err
		}
	}
	return answer, nil
}

// step runs the acceptor and reports whether there is something to make durable.
func (r *acceptorRecord) step(kind string, req *ballotRequest, cur *edition, answer *ballotAnswer) (bool, error) {
	if kind == callPrepare {
		next, promise := r.State.Prepare(req.Ballot)
		r.State, answer.Promise = next, &promise
		return promise.OK, nil
	}
	proposed, err := decode(req.Value)
	if err != nil {
		return false, err
	}
	if err := cur.doc.CheckSuccessor(proposed.doc); err != nil {
		return false, err
	}
	if proposed.doc.Previous != cur.hash {
		return false, document.Invalidf("the document proposed as version %d does not name its predecessor", req.Version)
	}
	next, accepted := r.State.Accept(req.Ballot, req.Value)
	r.State, answer.Accepted = next, &accepted
	return accepted.OK, nil
}

// persist makes a record durable, then current.
func (c *Catalog) persist(record acceptorRecord) error {
	text, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("catalog: encode the acceptor: %w", err)
	}
	if err := c.env.Meta.Set(acceptorKey, text); err != nil {
		return fmt.Errorf("catalog: store the acceptor: %w", err)
	}
	c.acceptor = record
	return nil
}

// highestPromised is the largest ballot that this node's acceptor knows for a
// version, so that its own first ballot need not lose to it.
func (c *Catalog) highestPromised(ctx context.Context, generation, version uint64) paxos.Ballot {
	if c.voting.acquire(ctx) != nil {
		return paxos.Ballot{}
	}
	defer c.voting.release()
	if c.acceptor.Generation != generation || c.acceptor.Version != version {
		return paxos.Ballot{}
	}
	return c.acceptor.State.Promised
}
