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
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/transport"
)

// The reasons for which a peer's question is refused: kinds of
// transport.ControlError.
const (
	reasonStale   = "stale_catalog" // the two do not serve by the same catalog version
	reasonMoved   = "moved"         // one of the two does not hold the range
	reasonPartly  = "quarantine"    // the range is not whole here
	reasonBusy    = "busy"          // too much else is being answered
	reasonCorrupt = "corrupt"       // what was asked for cannot be read here
	reasonMessage = "bad_message"   // the question cannot be read
	reasonFailed  = "failed"        // anything else
)

func refusal(reason, format string, args ...any) error {
	return &transport.ControlError{Kind: reason, Text: fmt.Sprintf(format, args...)}
}

// Handle answers a peer. Its errors are *transport.ControlError.
func (a *AntiEntropy) Handle(ctx context.Context, from ring.NodeID, kind string, body []byte) ([]byte, error) {
	a.metrics.received.Add(float64(len(body)))
	answer, err := a.handle(ctx, from, kind, body)
	if err != nil {
		err = refused(err)
		a.metrics.refused.WithLabelValues(reasonOf(err)).Inc()
		return nil, err
	}
	a.metrics.sent.Add(float64(len(answer)))
	return answer, nil
}

// refused turns an error into one that crosses to the peer.
func refused(err error) error {
	var control *transport.ControlError
	switch {
	case errors.As(err, &control):
		return control
	case errors.Is(err, message.ErrMessage):
		return refusal(reasonMessage, "%v", err)
	case errors.Is(err, storage.ErrCorrupt):
		return refusal(reasonCorrupt, "%v", err)
	}
	return refusal(reasonFailed, "%v", err)
}

// reasonOf is the reason of a refusal, for counting.
func reasonOf(err error) string {
	var control *transport.ControlError
	if errors.As(err, &control) {
		switch control.Kind {
		case reasonStale, reasonMoved, reasonPartly, reasonBusy, reasonCorrupt, reasonMessage:
			return control.Kind
		}
	}
	if errors.Is(err, storage.ErrCorrupt) {
		return reasonCorrupt
	}
	return reasonFailed
}

func (a *AntiEntropy) handle(ctx context.Context, from ring.NodeID, kind string, body []byte) ([]byte, error) {
	switch kind {
	case message.Roots:
		return a.serveRoots(ctx, from, body)
	case message.Leaves:
		return a.serveLeaves(ctx, from, body)
	case message.Pull:
		return a.servePull(ctx, from, body)
	case message.Purge:
		return a.servePurge(from, body)
	}
	select {
	case a.serving <- struct{}{}:
		defer func() { <-a.serving }()
	default:
		return nil, refusal(reasonBusy, "%d answers are being worked on", a.cfg.Serving)
	}
	switch kind {
	case message.Buckets:
		return a.serveBuckets(from, body)
	case message.Keys:
		return a.serveKeys(from, body)
	case message.Rows:
		return a.serveRows(from, body)
	}
	return nil, refusal(reasonMessage, "there is no %q", kind)
}

// agree checks that this node serves by the same catalog version as the peer.
func (a *AntiEntropy) agree(e message.Epoch) (*schema.View, error) {
	v := a.env.Replica.View()
	if v == nil || share.Epoch(v) != e {
		return nil, refusal(reasonStale, "catalog version %d of generation %d is not the one here", e.Version, e.Generation)
	}
	return v, nil
}

// admit checks that both nodes hold what the question is about. While something of it
// is missing here, a session with this node verifies nothing: it is refused, unless it
// fills what is missing where it was begun, here or there.
func (a *AntiEntropy) admit(from ring.NodeID, e message.Epoch, t message.Target, filling bool) (*schema.View, error) {
	v, err := a.agree(e)
	switch {
	case err != nil:
	case !share.Both(v, t, a.env.Self, from):
		err = refusal(reasonMoved, "range %d is not shared", t.ID)
	case !filling && a.env.Replica.InQuarantine(t.ID):
		err = refusal(reasonPartly, "range %d is in quarantine", t.ID)
	case a.awaits(v, t):
		err = refusal(reasonBusy, "range %d is about to be filled in bulk", t.ID)
	}
	return v, err
}

func (a *AntiEntropy) admitLeaf(from ring.NodeID, h *message.LeafHead) (*schema.View, error) {
	v, err := a.admit(from, h.Epoch, h.Target, h.Filling)
	if err == nil && !share.Covers(v, h.Target, h.Leaf) {
		err = refusal(reasonMoved, "leaf %+v is not compared", h.Leaf)
	}
	return v, err
}

func (a *AntiEntropy) serveRoots(ctx context.Context, from ring.NodeID, body []byte) ([]byte, error) {
	m, err := message.DecodeRootsRequest(body)
	if err != nil {
		return nil, err
	}
	v, err := a.agree(m.Epoch)
	if err != nil {
		return nil, err
	}
	answer := make([]message.Likeness, len(m.Targets))
	for i, t := range m.Targets {
		if !share.Both(v, t, a.env.Self, from) || a.env.Replica.InQuarantine(t.ID) || a.awaits(v, t) {
			answer[i] = message.Elsewhere
			continue
		}
		l, err := a.look(ctx, v, t.ID)
		if err != nil {
			return nil, err
		}
		answer[i] = likeness(&l.roots[t.Placement], m.Roots[i], a.purge.Point(share.Keyspace(v, t.Placement), t.ID), m.Points[i])
	}
	return message.EncodeLikenesses(answer), nil
}

// likeness compares a root with a peer's, each of which was hashed at its node's
// purge point or holds for it. Roots that do not change up to the larger of the two
// can be compared; else the one with the smaller point has to catch up.
func likeness(own *root, theirs uint64, point, theirPoint int64) message.Likeness {
	switch {
	case !own.settled || own.oldest <= max(point, theirPoint):
		return message.Unsettled
	case own.sum == theirs:
		return message.Alike
	case point > theirPoint:
		return message.Unsettled
	}
	return message.Different
}

func (a *AntiEntropy) serveLeaves(ctx context.Context, from ring.NodeID, body []byte) ([]byte, error) {
	m, err := message.DecodeLeavesRequest(body)
	if err != nil {
		return nil, err
	}
	v, err := a.admit(from, m.Epoch, m.Target, m.Filling)
	if err != nil {
		return nil, err
	}
	answer := message.LeavesAnswer{Point: a.purge.Point(share.Keyspace(v, m.Target.Placement), m.Target.ID)}
	if answer.Point > m.Point {
		return answer.Encode(), nil
	}
	leaves, err := a.env.Marks.Leaves(ctx, m.Target.ID)
	if err != nil {
		return nil, err
	}
	seenAt(leaves, m.Point)
	most := a.cfg.AnswerBytes / (record.LeafSize + 1 + len(record.Digest{}) + 10)
	for i := range leaves {
		if m.After != nil && leaves[i].Compare(*m.After) <= 0 || !share.Covers(v, m.Target, leaves[i].Leaf) {
			continue
		}
		if len(answer.Leaves) == most {
			answer.More = true
			break
		}
		answer.Leaves = append(answer.Leaves, leaves[i])
	}
	return answer.Encode(), nil
}

// serveBuckets reads the leaf into buckets, in pieces if it is large, and keeps
// them for the questions that follow.
func (a *AntiEntropy) serveBuckets(from ring.NodeID, body []byte) ([]byte, error) {
	m, err := message.DecodeBucketsRequest(body)
	if err != nil {
		return nil, err
	}
	if _, err := a.admitLeaf(from, &m.LeafHead); err != nil {
		return nil, err
	}
	if len(m.Chosen.Buckets)*tree.Fan*8 > 1<<20 {
		return nil, refusal(reasonMessage, "%d buckets at once", len(m.Chosen.Buckets))
	}
	s := a.served.Take(filling.Key{Peer: from, Session: m.Session, Leaf: m.Leaf})
	if s != nil {
		s.Form = m.Form()
	}
	if s == nil {
		return nil, refusal(reasonBusy, "too many leaves are being compared")
	}
	if err := s.Step(a.walk); err != nil {
		a.served.Give(s, false)
		return nil, err
	}
	answer := message.BucketsAnswer{Reading: !s.Done, Keys: s.Buckets.Keys}
	if s.Done {
		for _, b := range m.Chosen.Buckets {
			sums := s.Buckets.Children(b, m.Chosen.Level)
			answer.Sums = append(answer.Sums, sums[:]...)
		}
	}
	a.served.Give(s, true)
	return answer.Encode(), nil
}

// keysMax bounds the keys in one list.
const keysMax = 2048

func (a *AntiEntropy) serveKeys(from ring.NodeID, body []byte) ([]byte, error) {
	m, err := message.DecodeKeysRequest(body)
	if err != nil {
		return nil, err
	}
	if _, err := a.admitLeaf(from, &m.LeafHead); err != nil {
		return nil, err
	}
	page, err := a.list(m.Span(), m.Form(), &m.Chosen)
	if err != nil {
		return nil, err
	}
	answer := message.KeysAnswer{Through: page.through, Keys: page.keys}
	return answer.Encode(), nil
}

func (a *AntiEntropy) serveRows(from ring.NodeID, body []byte) ([]byte, error) {
	m, err := message.DecodeRowsRequest(body)
	if err != nil {
		return nil, err
	}
	if _, err := a.admitLeaf(from, &m.LeafHead); err != nil {
		return nil, err
	}
	wanted := m.Wanted()
	var answer message.RowsAnswer
	var last []byte // the key of the last row taken
	full := false
	form := m.Form()
	form.Strip = true // what a deletion hides must not outlive it at the peer
	at, err := a.walk(m.Span(), form, func(key, fragment []byte, _ record.Digest, _ bool) bool {
		if _, ok := wanted[tree.KeyHash(key)]; !ok || len(fragment) == 0 {
			return true
		}
		if full = len(last) > 0 && len(answer.Rows)+len(key)+len(fragment) > a.cfg.AnswerBytes; full {
			return false
		}
		answer.Rows = record.AppendEntry(answer.Rows, key, fragment)
		last = append(last[:0], key...)
		return true
	})
	if err != nil {
		return nil, err
	}
	if answer.Through = at.Through; full {
		answer.Through = last
	}
	return answer.Encode(), nil
}

// servePull pulls from the peer what it says differs, on the peer's behalf. The
// answer is sent when all of it is synced, so that nothing is applied later than
// the peer's session.
func (a *AntiEntropy) servePull(ctx context.Context, from ring.NodeID, body []byte) ([]byte, error) {
	m, err := message.DecodeRowsRequest(body)
	if err != nil {
		return nil, err
	}
	v, err := a.admitLeaf(from, &m.LeafHead)
	if err != nil {
		return nil, err
	}
	p := pair{m.Target.ID, from}
	if !a.begin(p) {
		return nil, refusal(reasonBusy, "range %d has a session already", m.Target.ID)
	}
	defer a.end(p)
	born, err := a.env.Clock.Now()
	if err != nil {
		return nil, err
	}
	got, err := a.pull(ctx, a.call, from, v, born, &m)
	if err != nil {
		return nil, err
	}
	return got.Encode(), nil
}

// servePurge exchanges how far the two nodes may purge.
func (a *AntiEntropy) servePurge(from ring.NodeID, body []byte) ([]byte, error) {
	m, err := message.DecodePurgeState(body)
	if err != nil {
		return nil, err
	}
	v, err := a.agree(m.Epoch)
	if err != nil {
		return nil, err
	}
	answer := a.purge.Answer(v, from, &m)
	return answer.Encode(), nil
}
