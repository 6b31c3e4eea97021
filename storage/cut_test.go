package storage

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dunlindb/dunlin/record"
)

// readOrCut reads all rows of plainShape, cutting out what cannot be read.
func readOrCut(t *testing.T, e *Engine) (rows, cuts int) {
	t.Helper()
	at, upper := record.AppendSpacePrefix(nil, plainShape.Table, 0), record.AppendSpacePrefix(nil, plainShape.Table+1, 0)
	for {
		c, err := e.Cursor(at, upper)
		if err != nil {
			t.Fatal(err)
		}
		for ok := c.Seek(at); ok; ok = c.Next() {
			if _, err = c.Value(); err != nil {
				break
			}
			rows++
			at = append(bytes.Clone(c.Key()), 0)
		}
		if err = errors.Join(err, c.Err()); err == nil {
			return rows, cuts + errorsOf(c.Close())
		}
		_ = c.Close() // with the same error
		if cuts++; !errors.Is(err, ErrCorrupt) || cuts > 10 {
			t.Fatalf("after %d cuts: %v", cuts, err)
		}
		span, found, err := e.DamageAround(at)
		if err != nil || !found {
			t.Fatalf("damage at %x is not found: %v", at, err)
		}
		if err := e.Quiesce(t.Context(), func() error { return e.Cut(span.Lower, span.Upper) }); err != nil {
			t.Fatal(err)
		}
	}
}

func errorsOf(err error) int {
	if err != nil {
		return 1000
	}
	return 0
}

// TestCutsLeaveTheRest: wherever a block of a table is damaged, the damage is found
// and cut out, little goes with it, all else can be read, and compactions succeed.
func TestCutsLeaveTheRest(t *testing.T) {
	const flips = 12
	cut := 0
	for i := range flips {
		fs := vfs.NewMem()
		overlapping(t, fs, 0.2+0.8*float64(i)/flips) // what the store keeps of itself is at the beginning
		env := testEnv(fs)
		env.Simulated = false
		e, err := Open(testConfig(), env)
		if err != nil {
			t.Fatalf("flip %d: %v", i, err)
		}
		rows, cuts := readOrCut(t, e)
		if again, more := readOrCut(t, e); again > rows || more > 0 || rows < 150 || cuts == 0 && rows != 300 {
			t.Errorf("flip %d: %d rows after %d cuts, then %d and %d", i, rows, cuts, again, more)
		}
		if err := e.rows.Compact(t.Context(), []byte{0}, []byte{0xff}, false); cuts > 0 && err != nil {
			t.Errorf("flip %d: compacting after %d cuts: %v", i, cuts, err)
		}
		if cuts > 0 {
			cut++
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	if cut < flips/2 {
		t.Errorf("%d of %d flips met anything", cut, flips)
	}
}
