package storage

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/storage/space"
	"github.com/dunlindb/dunlin/token"
)

func cellRow(column uint16, ts int64, value string) []byte {
	row := record.Row{Cells: []record.Cell{{Column: column, Timestamp: ts, Value: []byte(value)}}}
	return row.Append(nil)
}

// stored decodes the row of a key; found is false if there is none.
func stored(t testing.TB, e *Engine, key []byte) (row record.Row, found bool) {
	t.Helper()
	value, found, err := get(e.rows, key)
	if err == nil && found {
		err = record.DecodeRow(value, &row)
	}
	if err != nil {
		t.Fatal(err)
	}
	return row, found
}

// rewrite replaces the row of a key by what change makes of it.
func rewrite(e *Engine, key []byte, change func(*record.Row)) error {
	tok, _ := record.KeyToken(key)
	return e.Rewrite(context.Background(), e.CommitterOf(tok.Range()), func(b *Batch) error {
		value, _, err := get(e.rows, key)
		if err != nil {
			return err
		}
		var row record.Row
		if err := record.DecodeRow(value, &row); err != nil {
			return err
		}
		change(&row)
		b.Set(key, row.Append(nil))
		return nil
	})
}

// TestRewriteLosesNoUpdate: writers put each of their cells into one row while
// others count it up by replacing it; every cell and every count is there.
func TestRewriteLosesNoUpdate(t *testing.T) {
	const writers, each, counters, counts = 4, 60, 3, 40
	e := openTest(t)
	key := rowKey(t, &plainShape, []byte("p"), 1)
	put(t, e, key, cellRow(1, 1, "\x00"))
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			var items []*write
			for i := range each {
				w := newWrite(key, cellRow(uint16(2+w*each+i), int64(i+1), "v"))
				if err := e.Submit(e.CommitterOf(token.Of([]byte("p")).Range()), w); err != nil {
					t.Error(err)
					return
				}
				if items = append(items, w); i%4 == 3 { // some ride in one batch
					for _, w := range items {
						if err := <-w.done; err != nil {
							t.Error(err)
						}
					}
					items = nil
				}
			}
		})
	}
	for range counters {
		wg.Go(func() {
			for range counts {
				err := rewrite(e, key, func(r *record.Row) {
					r.Cells[0].Timestamp++
					r.Cells[0].Value = []byte{r.Cells[0].Value[0] + 1}
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	row, _ := stored(t, e, key)
	if n := len(row.Cells); n != 1+writers*each {
		t.Errorf("%d cells are left of %d", n, 1+writers*each)
	}
	if n := row.Cells[0].Value[0]; n != counters*counts {
		t.Errorf("counted to %d of %d", n, counters*counts)
	}
}

// TestRewriteStandsBetweenBatches: it reads what was queued before it and was never
// committed until then, and what is queued after it is merged with what it wrote.
func TestRewriteStandsBetweenBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig()
		cfg.Committers = 1
		e := mustOpen(t, cfg, vfs.NewMem())
		key, other := rowKey(t, &plainShape, []byte("p"), 1), rowKey(t, &plainShape, []byte("q"), 1)
		put(t, e, other, cellRow(1, 9, "other"))
		block := &stuck{entered: make(chan struct{}), release: make(chan struct{})}
		before, after := newWrite(key, cellRow(1, 5, "before")), newWrite(key, cellRow(2, 6, "after"))
		if err := e.Submit(0, block); err != nil {
			t.Fatal(err)
		}
		<-block.entered // what is queued from here on is drained together
		if err := e.Submit(0, before); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			done <- e.Rewrite(context.Background(), 0, func(b *Batch) error {
				if value, _, err := get(e.rows, key); err != nil || !bytes.Equal(value, cellRow(1, 5, "before")) {
					t.Errorf("read %x: %v", value, err)
				}
				b.Set(key, cellRow(3, 1, "left"))
				b.Delete(other)
				return nil
			})
		}()
		synctest.Wait() // it is queued
		if err := e.Submit(0, after); err != nil {
			t.Fatal(err)
		}
		close(block.release)
		if err := errors.Join(<-before.done, <-done, <-after.done); err != nil {
			t.Fatal(err)
		}
		row, _ := stored(t, e, key)
		if len(row.Cells) != 2 || row.Cells[0].Column != 2 || row.Cells[1].Column != 3 {
			t.Errorf("%+v is left, want columns 2 and 3", row)
		}
		if row, found := stored(t, e, other); found {
			t.Errorf("%+v was deleted and is there", row)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestRewriteOfNothing: what f does not stage is not written, what it stages before
// an error is not committed, and f does not run once its context has ended.
func TestRewriteOfNothing(t *testing.T) {
	e := openTest(t)
	key := rowKey(t, &plainShape, []byte("p"), 1)
	c := e.CommitterOf(token.Of([]byte("p")).Range())
	put(t, e, key, cellRow(1, 1, "v"))
	before := e.rows.Metrics().WAL.BytesIn
	ran := false
	if err := e.Rewrite(t.Context(), c, func(*Batch) error { ran = true; return nil }); err != nil || !ran {
		t.Errorf("nothing staged: %v, ran %v", err, ran)
	}
	broken := errors.New("broken")
	err := e.Rewrite(t.Context(), c, func(b *Batch) error {
		b.Set(key, cellRow(1, 2, "another"))
		b.Delete(rowKey(t, &plainShape, []byte("q"), 1))
		return broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("an error of f: %v", err)
	}
	err = e.Rewrite(t.Context(), c, func(b *Batch) error {
		b.Set(key, cellRow(1, 2, "another"))
		b.failed = broken // as a write does that the batch has no room for
		return nil
	})
	if !errors.Is(err, broken) {
		t.Errorf("a write that was not staged: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	block := &stuck{entered: make(chan struct{}), release: make(chan struct{})}
	if err := e.Submit(c, block); err != nil {
		t.Fatal(err)
	}
	<-block.entered
	cancel()
	if err := e.Rewrite(ctx, c, func(*Batch) error { t.Error("ran after it was given up"); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	close(block.release)
	if err := e.Between(t.Context(), c, func() error { return nil }); err != nil {
		t.Error(err)
	}
	if n := e.rows.Metrics().WAL.BytesIn - before; n != 0 {
		t.Errorf("%d bytes were written", n)
	}
	if row, _ := stored(t, e, key); len(row.Cells) != 1 || string(row.Cells[0].Value) != "v" {
		t.Errorf("%+v is stored", row)
	}
}

// TestRewriteWhileTheDiskIsFull: what frees space is taken while writes are refused.
func TestRewriteWhileTheDiskIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFaultyFS(vfs.NewMem(), nil)
		fs.free.Store(1 << 40)
		e := mustOpen(t, testConfig(), fs)
		key, gone := rowKey(t, &plainShape, []byte("p"), 1), rowKey(t, &plainShape, []byte("p"), 2)
		put(t, e, key, cellRow(1, 1, "a long value"))
		put(t, e, gone, liveRow(1))
		fs.free.Store(1)
		time.Sleep(2 * space.CheckEvery)
		var full *DiskFullError
		if err := submit(e, key, liveRow(2)); !errors.As(err, &full) {
			t.Errorf("a write on a full disk: %v", err)
		}
		c := e.CommitterOf(token.Of([]byte("p")).Range())
		err := e.Rewrite(t.Context(), c, func(b *Batch) error {
			b.Set(key, cellRow(1, 1, "v"))
			b.Delete(gone)
			return nil
		})
		if err != nil {
			t.Errorf("on a full disk: %v", err)
		}
		if row, _ := stored(t, e, key); len(row.Cells) != 1 || string(row.Cells[0].Value) != "v" {
			t.Errorf("%+v is stored", row)
		}
		if _, found := stored(t, e, gone); found {
			t.Error("a row that was deleted is there")
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestRewriteIsDurableWithTheNextSync: a crash after a later write was acknowledged
// finds what was rewritten before it.
func TestRewriteIsDurableWithTheNextSync(t *testing.T) {
	fs := vfs.NewCrashableMem()
	e := mustOpen(t, testConfig(), fs)
	key := rowKey(t, &plainShape, []byte("p"), 1)
	put(t, e, key, cellRow(1, 1, "old"))
	if err := rewrite(e, key, func(r *record.Row) { r.Cells[0].Value = []byte("new") }); err != nil {
		t.Fatal(err)
	}
	lost := fs.CrashClone(vfs.CrashCloneCfg{})
	put(t, e, rowKey(t, &plainShape, []byte("another range"), 1), liveRow(1))
	kept := fs.CrashClone(vfs.CrashCloneCfg{})
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for want, clone := range map[string]*vfs.MemFS{"old": lost, "new": kept} {
		e := mustOpen(t, testConfig(), clone)
		if row, _ := stored(t, e, key); len(row.Cells) != 1 || string(row.Cells[0].Value) != want {
			t.Errorf("%+v is stored, want %s", row, want)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestRewriteEnds with an error after Close, and after a fatal error.
func TestRewriteEnds(t *testing.T) {
	key := rowKey(t, &plainShape, []byte("p"), 1)
	stage := func(b *Batch) error { b.Set(key, liveRow(2)); return nil }
	e := mustOpen(t, testConfig(), vfs.NewMem())
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := e.Rewrite(t.Context(), 0, stage); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}

	broken := errors.New("broken disk")
	fs := newFaultyFS(vfs.NewMem(), func(op errorfs.Op) error {
		if strings.Contains(op.Path, "rows") && strings.HasSuffix(op.Path, ".log") {
			return broken
		}
		return nil
	})
	env := testEnv(fs)
	fatal := make(chan error, 100)
	env.Fatal = func(err error) { fatal <- err }
	e, err := Open(testConfig(), env)
	if err != nil {
		t.Fatal(err)
	}
	put(t, e, key, liveRow(1))
	fs.armed.Store(true)
	if err := submit(e, key, liveRow(3)); err == nil {
		t.Error("acknowledged what is not on disk")
	}
	<-fatal
	for range 3 {
		if err := e.Rewrite(t.Context(), 0, stage); err == nil {
			t.Error("rewritten after a fatal error")
		}
	}
	fs.armed.Store(false)
	_ = e.Close() // it may well report the broken log
}
