package storage

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dunlindb/dunlin/record"
)

// overlapping writes two tables of the same rows, which will be compacted, and
// flips a bit of each, that far into it.
func overlapping(t *testing.T, fs vfs.FS, at float64) {
	env := testEnv(fs)
	env.Simulated = false // leaves so few files as they are
	e, err := Open(testConfig(), env)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.NewChaCha8([32]byte{})
	for round := range 2 {
		for i := range 300 {
			value := make([]byte, 300)
			_, _ = random.Read(value) // never fails
			row := record.Row{Cells: []record.Cell{{Column: 1, Timestamp: int64(round), Value: value}}}
			put(t, e, rowKey(t, &plainShape, []byte("p"), i), row.Append(nil))
		}
		if err := e.rows.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	damageTables(t, fs, at)
}

// TestFailingCompactionsArePaced: a damaged file is not compacted again and again
// without a pause, closing does not wait for one, and a cut ends it.
func TestFailingCompactionsArePaced(t *testing.T) {
	for _, cut := range []bool{false, true} {
		fs := vfs.NewMem()
		overlapping(t, fs, 0.5)
		synctest.Test(t, func(t *testing.T) {
			e := mustOpen(t, testConfig(), fs) // with the simulator's options it compacts at once
			time.Sleep(time.Minute)
			if n := testutil.ToFloat64(e.metrics.background); n < 2 || n > 20 {
				t.Errorf("%v compactions failed in a minute", n)
			}
			if cut {
				err := e.Cut(record.AppendSpacePrefix(nil, plainShape.Table, 0), record.AppendSpacePrefix(nil, plainShape.Table+1, 0))
				if err != nil {
					t.Fatal(err)
				}
				before := testutil.ToFloat64(e.metrics.background)
				time.Sleep(time.Minute)
				if n := testutil.ToFloat64(e.metrics.background); n > before {
					t.Errorf("%v compactions have failed since the cut", n-before)
				}
			}
			begun := time.Now()
			if err := e.Close(); err != nil {
				t.Error(err)
			}
			if took := time.Since(begun); took > time.Second {
				t.Errorf("closing took %s", took)
			}
		})
	}
}
