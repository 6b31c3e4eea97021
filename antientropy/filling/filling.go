package filling

import (
	"sync"
	"time"

	"github.com/dunlindb/dunlin/antientropy/tree"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
)

// idle is after how long the buckets of a peer's session may go, if the place
// is wanted. Nobody says when a session is over, so a long time would keep the others
// away from nodes with more peers than places; a session that was only slow has its
// leaf read again.
const idle = 5 * time.Second

// Filling is a leaf that is being read into buckets, piece by piece.
type Filling struct {
	Leaf    record.Leaf
	Form    tree.Form
	Buckets *tree.Buckets
	Done    bool

	after []byte
}

// Walk visits the keys of a span, within a piece.
type Walk func(s tree.Span, f tree.Form, see tree.Visit) (tree.Walked, error)

// Step reads one more piece.
func (f *Filling) Step(walk Walk) error {
	if f.Done {
		return nil
	}
	at, err := walk(tree.Span{Leaf: f.Leaf, After: f.after}, f.Form, func(key, _ []byte, sum record.Digest, counts bool) bool {
		if counts {
			f.Buckets.Add(key, sum)
		}
		return true
	})
	if err != nil {
		return err
	}
	f.after, f.Done = at.Through, at.Through == nil
	return nil
}

// Key names what buckets were made for. A session that begins later has
// another number, and so never sees what was read before it.
type Key struct {
	Peer    ring.NodeID
	Session uint64
	Leaf    record.Leaf
}

// Served is one peer's leaf.
type Served struct {
	Filling
	key  Key
	used time.Time
}

// Keeper keeps the buckets of a few leaves between questions. One that is in use
// has been taken out.
type Keeper struct {
	most int

	mu    sync.Mutex // guards the fields below
	kept  []*Served  // oldest first
	inUse int
}

// New makes a Keeper with so many places.
func New(most int) *Keeper { return &Keeper{most: most} }

// Take returns the buckets of a key, empty ones if there are none yet, or nil if
// there is no place for them.
func (s *Keeper) Take(k Key) *Served {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for i, kept := range s.kept {
		// A peer has one session at a time: what it asked for before is over.
		if kept.key != k && kept.key.Peer != k.Peer {
			continue
		}
		s.kept = append(s.kept[:i], s.kept[i+1:]...)
		s.inUse++
		return kept.use(k, now)
	}
	if len(s.kept)+s.inUse < s.most {
		s.inUse++
		return (&Served{Filling: Filling{Buckets: &tree.Buckets{}}}).use(k, now)
	}
	if len(s.kept) > 0 && now.Sub(s.kept[0].used) > idle {
		old := s.kept[0]
		s.kept = s.kept[1:]
		s.inUse++
		return old.use(k, now)
	}
	return nil
}

// use readies the place for a key.
func (v *Served) use(k Key, now time.Time) *Served {
	if v.key != k {
		*v.Buckets = tree.Buckets{}
		v.Filling = Filling{Leaf: k.Leaf, Buckets: v.Buckets}
		v.key = k
	}
	v.used = now
	return v
}

// Give puts a place back, or gives it up.
func (s *Keeper) Give(v *Served, keep bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inUse--
	if keep {
		s.kept = append(s.kept, v)
	}
}
