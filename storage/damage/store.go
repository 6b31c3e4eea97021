package damage

import (
	"errors"

	"github.com/cockroachdb/pebble/v2"
)

// AroundStore is Around in a store.
func AroundStore(db *pebble.DB, at []byte) (s Span, found bool, err error) {
	it := &storeIterator{db: db}
	if err := it.Reopen(); err != nil {
		return s, false, err
	}
	defer it.close()
	return Around(it, at)
}

// storeIterator is an Iterator over a store.
type storeIterator struct {
	db   *pebble.DB
	it   *pebble.Iterator
	back bool
}

// Reopen makes the iterator anew.
func (w *storeIterator) Reopen() (err error) {
	w.close()
	w.it, err = w.db.NewIter(nil)
	return err
}

func (w *storeIterator) close() {
	if w.it != nil {
		_ = w.it.Close() // it returns the damage again
	}
	w.it = nil
}

// Seek moves to the first key at or after one, or to the last before it.
func (w *storeIterator) Seek(key []byte, back bool) bool {
	switch w.back = back; {
	case w.it == nil:
		return false
	case back:
		return w.it.SeekLT(key)
	}
	return w.it.SeekGE(key)
}

// Step moves on.
func (w *storeIterator) Step() bool {
	if w.back {
		return w.it.Prev()
	}
	return w.it.Next()
}

var errClosed = errors.New("the iterator could not be made anew")

// At is the key at hand, and why there is none.
func (w *storeIterator) At() ([]byte, error) {
	if w.it == nil {
		return nil, errClosed
	}
	if !w.it.Valid() {
		return nil, w.it.Error()
	}
	return w.it.Key(), nil
}
