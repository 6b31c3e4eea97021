package stream

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/token"
)

// Target is what is filled: a range in a keyspace, for a change of the layout.
type Target struct {
	Keyspace string
	Range    token.RangeID
	Change   uint64 // ring.Change.ID
}

// meta is the key under which is persisted how far a target is filled. Changes
// share it: they come one after the other.
func (t Target) meta() string { return fmt.Sprintf("rebalance/fill/%d/%s", t.Range, t.Keyspace) }

// Progress is how far a target is filled.
type Progress struct {
	Target
	From               ring.NodeID
	Pages, Rows, Bytes uint64 // stored, before restarts too
	Done               bool
	Began              time.Time // in this process
	Active             bool      // a Fill is at work

	after []byte // the last key that was stored
}

const progressVersion = 1

// encode returns what is persisted.
func (p *Progress) encode() []byte {
	b := binary.AppendUvarint([]byte{progressVersion}, p.Change)
	b = append(b, p.From[:]...)
	for _, n := range [...]uint64{p.Pages, p.Rows, p.Bytes} {
		b = binary.AppendUvarint(b, n)
	}
	done := uint64(0)
	if p.Done {
		done = 1
	}
	return appendKey(binary.AppendUvarint(b, done), p.after)
}

// decodeProgress reads what was persisted for a target and a source. ok is false if
// it is of another change, of another source or of another version of the encoding:
// then the target is filled from the beginning.
func decodeProgress(t Target, from ring.NodeID, b []byte) (p Progress, ok bool) {
	p = Progress{Target: t, From: from}
	r := &reader{b: b}
	version := r.take(1)
	change, source := r.number(1<<64-1), r.take(uint64(len(from)))
	for _, n := range [...]*uint64{&p.Pages, &p.Rows, &p.Bytes} {
		*n = r.number(1<<64 - 1)
	}
	p.Done = r.number(1) == 1
	p.after = slices.Clone(r.key())
	if r.bad || len(r.b) > 0 || version[0] != progressVersion || change != t.Change || string(source) != string(from[:]) {
		return Progress{}, false
	}
	if leaf, whole := record.LeafOf(p.after); p.after != nil && (!whole || leaf.Range != t.Range) {
		return Progress{}, false
	}
	return p, true
}

// Progress lists the targets that were filled, or are being filled, since the start
// of the process, those that were forgotten left out.
func (s *Sink) Progress() []Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Progress, 0, len(s.fills))
	for _, p := range s.fills {
		all = append(all, *p)
	}
	slices.SortFunc(all, func(a, b Progress) int {
		if a.Range != b.Range {
			return int(a.Range) - int(b.Range)
		}
		return strings.Compare(a.Keyspace, b.Keyspace)
	})
	return all
}

// Forget drops what is known of a target, whatever the change, and returns how far it
// was, as far as this process knows: the next Fill begins at the beginning. The error
// may be ErrFilling.
func (s *Sink) Forget(t Target) (last Progress, err error) {
	key := t.meta()
	s.mu.Lock()
	if known := s.fills[key]; known != nil {
		last = *known
	}
	if !last.Active {
		delete(s.fills, key)
	}
	s.mu.Unlock()
	if last.Active {
		return last, fmt.Errorf("%w: range %d of %s", ErrFilling, t.Range, t.Keyspace)
	}
	if b, ok, err := s.env.Meta.Get(key); err != nil || !ok || len(b) == 0 {
		return last, err
	}
	return last, s.env.Meta.Set(key, nil)
}
