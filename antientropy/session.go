package antientropy

import (
	"context"
	"errors"
	"fmt"

	"github.com/dunlindb/dunlin/antientropy/filling"
	"github.com/dunlindb/dunlin/antientropy/message"
	"github.com/dunlindb/dunlin/antientropy/share"
	"github.com/dunlindb/dunlin/antientropy/tree"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/schema"
)

// session makes a range of one keyspace equal on this node and a peer, both ways,
// one bounded step at a time: first the heads, then the rows.
type session struct {
	a       *AntiEntropy
	view    *schema.View
	peer    *peer
	target  message.Target
	born    moment // when it began; also its number
	point   int64  // the purge point at which both sides see their rows
	filling bool   // the range is in quarantine here

	rowsNext bool          // the heads are equal
	allAsked bool          // the leaves in todo are the last
	todo     []record.Leaf // to be compared
	current  *comparison
	buckets  *tree.Buckets // of the comparisons, one after another

	compared        int // leaves
	repaired, given message.PullAnswer
}

// advance takes the session one step on; done means verified.
func (s *session) advance(ctx context.Context) (done bool, err error) {
	if s.a.env.Replica.View() != s.view {
		return false, refusal(reasonStale, "the catalog has changed")
	}
	switch {
	case s.current != nil:
		over, err := s.current.advance(ctx)
		if over {
			s.close()
		}
		return false, err
	case len(s.todo) > 0:
		s.open(s.todo[0])
		s.todo = s.todo[1:]
		return false, nil
	case s.allAsked:
		return true, nil
	}
	return false, s.ask(ctx)
}

// open begins the comparison of a leaf.
func (s *session) open(l record.Leaf) {
	*s.buckets = tree.Buckets{}
	s.compared++
	s.current = &comparison{
		a: s.a, view: s.view, peer: s.peer.id, born: s.born.at,
		head:    message.LeafHead{Epoch: share.Epoch(s.view), Target: s.target, Session: uint64(s.born.at), Point: s.point, Leaf: l, Filling: s.filling},
		filling: filling.Filling{Leaf: l, Buckets: s.buckets},
	}
	s.current.filling.Form = s.current.head.Form()
}

// close adds what a comparison repaired.
func (s *session) close() {
	c := s.current
	s.repaired.Rows, s.repaired.Bytes = s.repaired.Rows+c.repaired.Rows, s.repaired.Bytes+c.repaired.Bytes
	s.given.Rows, s.given.Bytes = s.given.Rows+c.given.Rows, s.given.Bytes+c.given.Bytes
	s.current = nil
}

// ask compares the leaves of both sides. If heads differ, rows wait: what hides
// them is about to change.
func (s *session) ask(ctx context.Context) error {
	theirs, err := s.theirs(ctx)
	if err != nil {
		return fmt.Errorf("leaves of range %d: %w", s.target.ID, err)
	}
	ours, err := s.a.env.Marks.Leaves(ctx, s.target.ID)
	if err != nil {
		return err
	}
	seenAt(ours, s.point)
	var heads, rows []record.Leaf
	for _, l := range unequal(ours, theirs) {
		switch {
		case !share.Covers(s.view, s.target, l):
		case l.Space == record.SpaceHeads:
			heads = append(heads, l)
		default:
			rows = append(rows, l)
		}
	}
	if len(heads) > 0 && !s.rowsNext {
		s.todo, s.rowsNext = heads, true
		return nil
	}
	s.todo, s.allAsked = rows, true
	return nil
}

// seenAt takes back that leaves are clean which look different at a purge point.
func seenAt(leaves []record.LeafState, point int64) {
	for i := range leaves {
		leaves[i].Clean = leaves[i].Clean && leaves[i].Oldest > point
	}
}

// theirs lists the peer's leaves. If its purge point is larger, that one holds for
// the session.
func (s *session) theirs(ctx context.Context) (all []record.LeafState, err error) {
	m := message.LeavesRequest{Epoch: share.Epoch(s.view), Target: s.target, Point: s.point, Filling: s.filling}
	for {
		body, err := s.a.ask(ctx, s.peer.id, message.Leaves, m.Encode())
		if err != nil {
			return nil, err
		}
		answer, err := message.DecodeLeavesAnswer(body)
		if err != nil {
			return nil, err
		}
		if answer.Point > s.point {
			s.point, m.Point, m.After, all = answer.Point, answer.Point, nil, nil
			continue
		}
		if n := len(answer.Leaves); n > 0 && m.After != nil && answer.Leaves[0].Compare(*m.After) <= 0 {
			return nil, fmt.Errorf("%w: it does not go on", message.ErrMessage)
		}
		all = append(all, answer.Leaves...)
		if !answer.More {
			return all, nil
		}
		if len(answer.Leaves) == 0 {
			return nil, fmt.Errorf("%w: it does not go on", message.ErrMessage)
		}
		m.After = &all[len(all)-1].Leaf
	}
}

// unequal merges two lists of leaves and returns, in order, those that are not
// known to be equal. A leaf of which nothing counts equals one that is not there.
func unequal(ours, theirs []record.LeafState) (leaves []record.Leaf) {
	missing := record.LeafState{Clean: true}
	for len(ours)+len(theirs) > 0 {
		a, b := &missing, &missing
		order := 0
		switch {
		case len(theirs) == 0:
			order = -1
		case len(ours) == 0:
			order = 1
		default:
			order = ours[0].Compare(theirs[0].Leaf)
		}
		leaf := record.Leaf{}
		if order <= 0 {
			a, leaf, ours = &ours[0], ours[0].Leaf, ours[1:]
		}
		if order >= 0 {
			b, leaf, theirs = &theirs[0], theirs[0].Leaf, theirs[1:]
		}
		if !a.Clean || !b.Clean || !a.LeafContent.Equal(&b.LeafContent) {
			leaves = append(leaves, leaf)
		}
	}
	return leaves
}

// outcome names how a session ended, for counting.
func outcome(err error) string {
	switch {
	case err == nil:
		return "verified"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return "timeout"
	}
	return reasonOf(err)
}
