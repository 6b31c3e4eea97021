package storage

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/dunlindb/dunlin/storage/damage"
)

// Span is keys of the row store, from Lower (inclusive) to Upper (exclusive).
type Span = damage.Span

// DamageAround finds the span around a key that cannot be read; found is false if
// everything there can.
func (e *Engine) DamageAround(key []byte) (s Span, found bool, err error) {
	if !e.gate.Enter() {
		return s, false, ErrClosed
	}
	defer e.gate.Leave()
	if s, found, err = damage.AroundStore(e.rows, key); err != nil {
		err = fmt.Errorf("storage: look for damage: %w", err)
	}
	return s, found, err
}

// Cut removes everything that is stored from lower (inclusive) to upper (exclusive),
// readable or not, while nobody writes there. ErrCorrupt: a bound lies in damaged
// data, and nothing was removed: Pebble would take what it cannot read there for the
// end of the file. DamageAround finds bounds that can be read.
func (e *Engine) Cut(lower, upper []byte) error {
	if !e.gate.Enter() {
		return ErrClosed
	}
	defer e.gate.Leave()
	for _, seek := range []func(*pebble.Iterator) bool{
		func(i *pebble.Iterator) bool { return i.SeekLT(lower) },
		func(i *pebble.Iterator) bool { return i.SeekGE(upper) },
	} {
		iter, err := e.rows.NewIter(nil)
		if err == nil {
			seek(iter)
			err = iter.Close() // with the error of the seek
		}
		if err != nil {
			return corrupted("storage: cut", err)
		}
	}
	if err := e.rows.Excise(context.Background(), pebble.KeyRange{Start: lower, End: upper}); err != nil {
		return corrupted("storage: cut", err)
	}
	e.pace.Resume() // what made compactions fail may be gone
	return nil
}
