package antientropy

import (
	"context"
	"errors"
	"fmt"

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
	case errors.Is(err, errMessage):
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
		case reasonStale, reasonMoved, reasonBusy, reasonCorrupt, reasonMessage:
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
	case kindRoots:
		return a.serveRoots(ctx, from, body)
	case kindLeaves:
		return a.serveLeaves(ctx, from, body)
	case kindPull:
		return a.servePull(ctx, from, body)
	}
	select {
	case a.serving <- struct{}{}:
		defer func() { <-a.serving }()
	default:
		return nil, refusal(reasonBusy, "%d answers are being worked on", a.cfg.Serving)
	}
	switch kind {
	case kindBuckets:
		return a.serveBuckets(from, body)
	case kindKeys:
		return a.serveKeys(from, body)
	case kindRows:
		return a.serveRows(from, body)
	}
	return nil, refusal(reasonMessage, "there is no %q", kind)
}

// agree checks that this node serves by the same catalog version as the peer.
func (a *AntiEntropy) agree(e epoch) (*schema.View, error) {
	v := a.env.Replica.View()
	if v == nil || epochOf(v) != e {
		return nil, refusal(reasonStale, "catalog version %d of generation %d is not the one here", e.version, e.generation)
	}
	return v, nil
}

// admit checks that both nodes hold what the question is about.
func (a *AntiEntropy) admit(from ring.NodeID, e epoch, t target) (*schema.View, error) {
	v, err := a.agree(e)
	if err == nil && !shared(v, t, a.env.Self, from) {
		err = refusal(reasonMoved, "range %d is not shared", t.id)
	}
	return v, err
}

func (a *AntiEntropy) admitLeaf(from ring.NodeID, h *leafHead) (*schema.View, error) {
	v, err := a.admit(from, h.epoch, h.target)
	if err == nil && !covers(v, h.target, h.leaf) {
		err = refusal(reasonMoved, "leaf %+v is not compared", h.leaf)
	}
	return v, err
}

func (a *AntiEntropy) serveRoots(ctx context.Context, from ring.NodeID, body []byte) ([]byte, error) {
	m, err := decodeRootsRequest(body)
	if err != nil {
		return nil, err
	}
	v, err := a.agree(m.epoch)
	if err != nil {
		return nil, err
	}
	answer := make([]likeness, len(m.targets))
	for i, t := range m.targets {
		if !shared(v, t, a.env.Self, from) {
			answer[i] = elsewhere
			continue
		}
		l, err := a.look(ctx, v, t.id)
		if err != nil {
			return nil, err
		}
		switch own := l.roots[t.placement]; {
		case !own.settled:
			answer[i] = unsettled
		case own.sum != m.roots[i]:
			answer[i] = different
		}
	}
	return encodeLikenesses(answer), nil
}

func (a *AntiEntropy) serveLeaves(ctx context.Context, from ring.NodeID, body []byte) ([]byte, error) {
	m, err := decodeLeavesRequest(body)
	if err != nil {
		return nil, err
	}
	v, err := a.admit(from, m.epoch, m.target)
	if err != nil {
		return nil, err
	}
	leaves, err := a.env.Marks.Leaves(ctx, m.target.id)
	if err != nil {
		return nil, err
	}
	var answer leavesAnswer
	most := a.cfg.AnswerBytes / (record.LeafSize + 1 + len(record.Digest{}) + 10)
	for i := range leaves {
		if m.after != nil && leaves[i].Compare(*m.after) <= 0 || !covers(v, m.target, leaves[i].Leaf) {
			continue
		}
		if len(answer.leaves) == most {
			answer.more = true
			break
		}
		answer.leaves = append(answer.leaves, leaves[i])
	}
	return answer.encode(), nil
}

// serveBuckets reads the leaf into buckets, in pieces if it is large, and keeps
// them for the questions that follow.
func (a *AntiEntropy) serveBuckets(from ring.NodeID, body []byte) ([]byte, error) {
	m, err := decodeBucketsRequest(body)
	if err != nil {
		return nil, err
	}
	if _, err := a.admitLeaf(from, &m.leafHead); err != nil {
		return nil, err
	}
	if len(m.chosen.buckets)*bucketFan*8 > 1<<20 {
		return nil, refusal(reasonMessage, "%d buckets at once", len(m.chosen.buckets))
	}
	s := a.served.take(servedKey{from, m.session, m.leaf})
	if s == nil {
		return nil, refusal(reasonBusy, "too many leaves are being compared")
	}
	if err := a.fill(&s.filling); err != nil {
		a.served.give(s, false)
		return nil, err
	}
	answer := bucketsAnswer{reading: !s.done, keys: s.buckets.keys}
	if s.done {
		for _, b := range m.chosen.buckets {
			sums := s.buckets.children(b, m.chosen.level)
			answer.sums = append(answer.sums, sums[:]...)
		}
	}
	a.served.give(s, true)
	return answer.encode(), nil
}

// keysMax bounds the keys in one list.
const keysMax = 2048

func (a *AntiEntropy) serveKeys(from ring.NodeID, body []byte) ([]byte, error) {
	m, err := decodeKeysRequest(body)
	if err != nil {
		return nil, err
	}
	if _, err := a.admitLeaf(from, &m.leafHead); err != nil {
		return nil, err
	}
	page, err := a.list(m.span(), &m.chosen)
	if err != nil {
		return nil, err
	}
	answer := keysAnswer{through: page.through, keys: page.keys}
	return answer.encode(), nil
}

func (a *AntiEntropy) serveRows(from ring.NodeID, body []byte) ([]byte, error) {
	m, err := decodeRowsRequest(body)
	if err != nil {
		return nil, err
	}
	if _, err := a.admitLeaf(from, &m.leafHead); err != nil {
		return nil, err
	}
	wanted := hashSet(m.hashes)
	var answer rowsAnswer
	var last []byte // the key of the last row taken
	full := false
	at, err := a.walk(m.span(), func(key, fragment []byte, _ record.Digest, _ bool) bool {
		if _, ok := wanted[keyHash(key)]; !ok {
			return true
		}
		if full = len(last) > 0 && len(answer.rows)+len(key)+len(fragment) > a.cfg.AnswerBytes; full {
			return false
		}
		answer.rows = record.AppendEntry(answer.rows, key, fragment)
		last = append(last[:0], key...)
		return true
	})
	if err != nil {
		return nil, err
	}
	if answer.through = at.through; full {
		answer.through = last
	}
	return answer.encode(), nil
}

// servePull pulls from the peer what it says differs, on the peer's behalf. The
// answer is sent when all of it is synced, so that nothing is applied later than
// the peer's session.
func (a *AntiEntropy) servePull(ctx context.Context, from ring.NodeID, body []byte) ([]byte, error) {
	m, err := decodeRowsRequest(body)
	if err != nil {
		return nil, err
	}
	v, err := a.admitLeaf(from, &m.leafHead)
	if err != nil {
		return nil, err
	}
	p := pair{m.target.id, from}
	if !a.begin(p) {
		return nil, refusal(reasonBusy, "range %d has a session already", m.target.id)
	}
	defer a.end(p)
	born, err := a.env.Clock.Now()
	if err != nil {
		return nil, err
	}
	got, err := a.pull(ctx, from, v, born, &m)
	if err != nil {
		return nil, err
	}
	return got.encode(), nil
}

func hashSet(hashes []uint64) map[uint64]struct{} {
	set := make(map[uint64]struct{}, len(hashes))
	for _, h := range hashes {
		set[h] = struct{}{}
	}
	return set
}
