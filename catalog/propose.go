package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/google/uuid"

	"github.com/dunlindb/dunlin/catalog/document"
	"github.com/dunlindb/dunlin/paxos"
	"github.com/dunlindb/dunlin/ring"
)

// Propose changes the document. change gets a copy of the present document and
// returns what should follow; version, predecessor and proposal id are filled in.
// It may be called several times, each time with a newer document, when others
// propose too, so it must find out by itself whether what it wants is so already:
// then it returns ErrUnchanged, and Propose succeeds. Its other errors end the
// proposal. When Propose succeeds this node has adopted the document.
//
// Without a majority of voters the error is a *NoMajorityError when ctx ends; the
// change may then still be decided later.
func (c *Catalog) Propose(ctx context.Context, change func(Document) (Document, error)) error {
	err := c.propose(ctx, change)
	outcome := "decided"
	switch {
	case errors.Is(err, ErrUnchanged):
		outcome, err = "unchanged", nil
	case err != nil:
		outcome = "failed"
	}
	c.metrics.proposals.WithLabelValues(outcome).Inc()
	return err
}

func (c *Catalog) propose(ctx context.Context, change func(Document) (Document, error)) error {
	ctx, cancel := bounded(ctx, c.cfg.ProposeTimeout)
	defer cancel()
	if err := c.proposing.acquire(ctx); err != nil {
		return fmt.Errorf("catalog: waiting for another proposal of this node: %w", err)
	}
	defer c.proposing.release()
	var (
		wait  backoff
		above paxos.Ballot
		last  *edition
	)
	for {
		cur := c.current.Load()
		if cur == nil {
			return ErrNoCatalog
		}
		draft, raw, err := c.draft(cur, change)
		if err != nil {
			return err
		}
		if cur != last {
			last, above = cur, c.highestPromised(ctx, cur.doc.Generation, cur.doc.Version+1)
		}
		round := c.runBallot(ctx, cur, above.Next(c.self), raw)
		if round.decided != nil {
			done, err := c.conclude(ctx, draft.Proposal, round.decided)
			if done || err != nil {
				return err
			}
			continue // another's document: see what is left to change in it
		}
		above = round.highest
		c.metrics.retries.Inc()
		if !c.pause(ctx, &wait) {
			return round.failure(ctx.Err())
		}
	}
}

// draft is the document that a change makes of an edition, and its encoding.
func (c *Catalog) draft(cur *edition, change func(Document) (Document, error)) (*Document, []byte, error) {
	next, err := change(cur.doc.Clone())
	if err != nil {
		return nil, nil, err
	}
	next.Format, next.Version, next.Previous = document.Format, cur.doc.Version+1, cur.hash
	if next.Proposal, err = uuid.NewRandomFromReader(c.env.Entropy); err != nil {
		return nil, nil, fmt.Errorf("catalog: make a proposal id: %w", err)
	}
	raw, err := document.Encode(&next)
	if err != nil {
		return nil, nil, err
	}
	if _, err := decode(raw); err != nil {
		return nil, nil, err
	}
	return &next, raw, cur.doc.CheckSuccessor(&next)
}

// conclude adopts a decided document, and reports whether it is the proposal.
func (c *Catalog) conclude(ctx context.Context, proposal uuid.UUID, decided []byte) (bool, error) {
	// What is decided is adopted even if the caller has lost patience.
	if err := c.adopt(context.WithoutCancel(ctx), decided); err != nil {
		return false, err
	}
	signal(c.announce)
	return c.current.Load().doc.Proposal == proposal, nil
}

// round is how a ballot went.
type round struct {
	decided []byte // a decided document, ours or another's; nil: none
	highest paxos.Ballot
	voters  int
	alive   int // voters that answered
	cause   error
}

func (r *round) failure(end error) error {
	cause := r.cause
	if cause == nil {
		cause = end
	}
	return &NoMajorityError{Voters: r.voters, Need: r.voters/2 + 1, Alive: r.alive, Cause: cause}
}

// runBallot drives one ballot for the document after cur.
func (c *Catalog) runBallot(ctx context.Context, cur *edition, ballot paxos.Ballot, value []byte) *round {
	c.metrics.ballots.Inc()
	voters := cur.doc.Layout.Voters()
	ids := make([]uuid.UUID, len(voters))
	for i, v := range voters {
		ids[i] = v.ID
	}
	p := paxos.NewProposer(ids, ballot, value)
	r := &round{voters: len(voters)}
	req := ballotRequest{Generation: cur.doc.Generation, Version: cur.doc.Version + 1, Previous: cur.hash, Ballot: ballot}
	c.gather(ctx, cur, voters, callPrepare, req, r, func(from uuid.UUID, a *ballotAnswer) bool {
		return a.Promise != nil && p.OnPromise(from, *a.Promise) != paxos.Preparing
	})
	if r.decided == nil && p.Phase() == paxos.Accepting {
		req.Value = p.Value()
		c.gather(ctx, cur, voters, callAccept, req, r, func(from uuid.UUID, a *ballotAnswer) bool {
			return a.Accepted != nil && p.OnAccepted(from, *a.Accepted) != paxos.Accepting
		})
		if p.Phase() == paxos.Decided {
			r.decided = p.Value()
		}
	}
	r.highest = p.Highest()
	return r
}

// gather asks all voters at once, and hands their answers to take until that
// returns true, a voter turns out to know a decided document, or all have answered.
func (c *Catalog) gather(ctx context.Context, cur *edition, voters []ring.Member, kind string, req ballotRequest, r *round,
	take func(uuid.UUID, *ballotAnswer) bool) {
	type result struct {
		from   uuid.UUID
		answer *ballotAnswer
		err    error
	}
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan result, len(voters))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for _, v := range voters {
		wg.Go(func() {
			answer, err := c.ask(ctx, cur, v, kind, &req)
			results <- result{v.ID, answer, err}
		})
	}
	r.alive, r.cause = 0, nil
	for range voters {
		got := <-results
		if got.err != nil {
			r.cause = got.err
			continue
		}
		r.alive++
		if got.answer.Decided != nil {
			r.decided = got.answer.Decided
			return
		}
		if take(got.from, got.answer) {
			return
		}
	}
}

// ask sends a request to one voter, bringing it up to date first if it is behind.
func (c *Catalog) ask(ctx context.Context, cur *edition, voter ring.Member, kind string, req *ballotRequest) (*ballotAnswer, error) {
	if voter.ID == c.self {
		return c.vote(ctx, kind, req)
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.CallTimeout)
	defer cancel()
	body, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("catalog: encode a ballot: %w", err)
	}
	answer, err := c.askOnce(ctx, voter, kind, body)
	if err == nil && answer.Behind {
		if _, err := c.control(ctx, voter, callLearn, cur.raw); err != nil {
			return nil, fmt.Errorf("catalog: bring node %s up to date: %w", voter.ID, err)
		}
		answer, err = c.askOnce(ctx, voter, kind, body)
	}
	if err != nil {
		return nil, err
	}
	if answer.Behind {
		return nil, fmt.Errorf("catalog: node %s stays behind version %d", voter.ID, cur.doc.Version)
	}
	return answer, nil
}

// control makes a control call to a member, wherever it is.
func (c *Catalog) control(ctx context.Context, m ring.Member, kind string, body []byte) ([]byte, error) {
	return c.env.Caller.Control(ctx, c.env.Caller.Where(m), kind, body)
}

func (c *Catalog) askOnce(ctx context.Context, voter ring.Member, kind string, body []byte) (*ballotAnswer, error) {
	text, err := c.control(ctx, voter, kind, body)
	if err != nil {
		return nil, fmt.Errorf("catalog: %s at node %s: %w", kind, voter.ID, err)
	}
	answer := &ballotAnswer{}
	if err := parse(kind, text, answer); err != nil {
		return nil, err
	}
	return answer, c.checkAnswer(voter.ID, answer.Self)
}

// checkAnswer refuses the answer of another node than the one asked, and of one
// that shows an older state than before: it may have forgotten its promises.
func (c *Catalog) checkAnswer(want ring.NodeID, id Identity) error {
	if id.Node != want {
		return &RefusedError{Node: id.Node.String(), Reason: "address", Detail: "it answers at the address of node " + want.String()}
	}
	return c.vouch(id)
}
