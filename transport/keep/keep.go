package keep

import (
	"errors"
	"sync"
)

// ErrClosed means that nothing is kept any more.
var ErrClosed = errors.New("closed")

// One keeps at most one open thing. The zero value keeps none yet.
type One[T comparable] struct {
	mu     sync.Mutex // guards the fields below
	kept   T
	has    bool
	closed bool
}

// Get returns what is kept, which open makes if there is nothing. open must not
// block.
func (o *One[T]) Get(open func() (T, error)) (T, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		var none T
		return none, ErrClosed
	}
	if o.has {
		return o.kept, nil
	}
	made, err := open()
	if err == nil {
		o.kept, o.has = made, true
	}
	return made, err
}

// Forget makes the next Get open another; it reports whether v was still kept,
// which the caller then closes.
func (o *One[T]) Forget(v T) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.has || o.kept != v {
		return false
	}
	o.has = false
	return true
}

// Close refuses further Gets, and returns what was kept, for the caller to close.
func (o *One[T]) Close() (v T, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	v, ok = o.kept, o.has
	o.has, o.closed = false, true
	return v, ok
}
