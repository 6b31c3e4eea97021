package seat

import (
	"errors"
	"sync"
)

// Why a seat is lost.
var (
	ErrTaken    = errors.New("a newer stream of this node has taken over")
	ErrUnwanted = errors.New("this node is no peer any more")
)

// Seat is what a holder has.
type Seat struct {
	lost chan struct{} // closed with why set
	why  error
}

// Lost is closed when the seat is lost.
func (s *Seat) Lost() <-chan struct{} { return s.lost }

// Why says why the seat was lost; nil: it was not.
func (s *Seat) Why() error {
	select {
	case <-s.lost:
		return s.why
	default:
		return nil
	}
}

// lose is called at most once.
func (s *Seat) lose(why error) {
	s.why = why
	close(s.lost)
}

// Table has a seat for each key. The zero value is ready, and wants everybody.
type Table[K comparable] struct {
	mu     sync.Mutex // guards the fields below
	taken  map[K]*Seat
	wanted func(K) bool
	rounds int // of Keep
}

// Round numbers the calls of Keep. Who asks for it before a holder is let in can tell
// Take whether that may have become unwanted since.
func (t *Table[K]) Round() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rounds
}

// Take gives the seat of a key to who was let in as of a round; whoever has it loses it.
func (t *Table[K]) Take(k K, round int) *Seat {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := &Seat{lost: make(chan struct{})}
	if round != t.rounds && !t.wanted(k) {
		s.lose(ErrUnwanted)
		return s
	}
	if old := t.taken[k]; old != nil {
		old.lose(ErrTaken)
	}
	if t.taken == nil {
		t.taken = map[K]*Seat{}
	}
	t.taken[k] = s
	return s
}

// Leave gives a seat back.
func (t *Table[K]) Leave(k K, s *Seat) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.taken[k] == s {
		delete(t.taken, k)
	}
}

// Keep takes the seats of all keys that are not wanted.
func (t *Table[K]) Keep(wanted func(K) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wanted = wanted
	t.rounds++
	for k, s := range t.taken {
		if !wanted(k) {
			delete(t.taken, k)
			s.lose(ErrUnwanted)
		}
	}
}
