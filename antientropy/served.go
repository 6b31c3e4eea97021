package antientropy

import (
	"sync"
	"time"

	"github.com/dunlindb/dunlin/antientropy/tree"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
)

// servedIdle is after how long the buckets of a peer's session may go, if the place
// is wanted. Nobody says when a session is over, so a long time would keep the others
// away from nodes with more peers than places; a session that was only slow has its
// leaf read again.
const servedIdle = 5 * time.Second

// filling is a leaf that is being read into buckets, piece by piece.
type filling struct {
	leaf    record.Leaf
	form    tree.Form
	buckets *tree.Buckets
	after   []byte
	done    bool
}

// fill reads one more piece of a leaf.
func (a *AntiEntropy) fill(f *filling) error {
	if f.done {
		return nil
	}
	at, err := a.walk(tree.Span{Leaf: f.leaf, After: f.after}, f.form, func(key, _ []byte, sum record.Digest, counts bool) bool {
		if counts {
			f.buckets.Add(key, sum)
		}
		return true
	})
	if err != nil {
		return err
	}
	f.after, f.done = at.Through, at.Through == nil
	return nil
}

// servedKey names what buckets were made for. A session that begins later has
// another number, and so never sees what was read before it.
type servedKey struct {
	peer    ring.NodeID
	session uint64
	leaf    record.Leaf
}

// serving is one peer's leaf.
type serving struct {
	filling
	key  servedKey
	used time.Time
}

// served keeps the buckets of a few leaves between questions. One that is in use
// has been taken out.
type served struct {
	most int

	mu    sync.Mutex // guards the fields below
	kept  []*serving // oldest first
	inUse int
}

func newServed(most int) *served { return &served{most: most} }

// take returns the buckets of a key, empty ones if there are none yet, or nil if
// there is no place for them.
func (s *served) take(k servedKey) *serving {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for i, kept := range s.kept {
		// A peer has one session at a time: what it asked for before is over.
		if kept.key != k && kept.key.peer != k.peer {
			continue
		}
		s.kept = append(s.kept[:i], s.kept[i+1:]...)
		s.inUse++
		return kept.use(k, now)
	}
	if len(s.kept)+s.inUse < s.most {
		s.inUse++
		return (&serving{filling: filling{buckets: &tree.Buckets{}}}).use(k, now)
	}
	if len(s.kept) > 0 && now.Sub(s.kept[0].used) > servedIdle {
		old := s.kept[0]
		s.kept = s.kept[1:]
		s.inUse++
		return old.use(k, now)
	}
	return nil
}

// use readies the place for a key.
func (v *serving) use(k servedKey, now time.Time) *serving {
	if v.key != k {
		*v.buckets = tree.Buckets{}
		v.filling = filling{leaf: k.leaf, buckets: v.buckets}
		v.key = k
	}
	v.used = now
	return v
}

// give puts a place back, or gives it up.
func (s *served) give(v *serving, keep bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inUse--
	if keep {
		s.kept = append(s.kept, v)
	}
}
