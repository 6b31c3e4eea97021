package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/token"
)

func testEnv(fs FS) Env {
	return Env{
		FS: fs, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Registerer: prometheus.NewRegistry(), Fatal: func(error) {}, Simulated: true,
	}
}

func testConfig() Config {
	cfg := DefaultConfig()
	cfg.Dir, cfg.Committers, cfg.Memory = "data", 2, 8<<20
	return cfg
}

func mustOpen(t testing.TB, cfg Config, fs FS) *Engine {
	t.Helper()
	e, err := Open(cfg, testEnv(fs))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func openTest(t testing.TB) *Engine {
	t.Helper()
	e := mustOpen(t, testConfig(), vfs.NewMem())
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// write is an Item of one key and fragment.
type write struct {
	key, value []byte
	done       chan error
}

func newWrite(key, value []byte) *write {
	return &write{key: key, value: value, done: make(chan error, 1)}
}

func (w *write) Bytes() int     { return len(w.key) + len(w.value) }
func (w *write) Stage(b *Batch) { b.Merge(w.key, w.value) }
func (w *write) Done(err error) { w.done <- err }

// put writes one fragment and waits until it is durable.
func put(t testing.TB, e *Engine, key, value []byte) {
	t.Helper()
	tok, _ := record.KeyToken(key)
	w := newWrite(key, value)
	if err := e.Submit(e.CommitterOf(tok.Range()), w); err != nil {
		t.Fatal(err)
	}
	if err := <-w.done; err != nil {
		t.Fatal(err)
	}
}

// TestIdentity: one store id for ever, boots counted up, and everything that is
// not one whole directory of ours refused.
func TestIdentity(t *testing.T) {
	fs := vfs.NewMem()
	e := mustOpen(t, testConfig(), fs)
	first := e.Identity()
	if !first.New || first.Boot != 1 {
		t.Errorf("first start: %+v", first)
	}
	if _, err := Open(testConfig(), testEnv(fs)); !errors.Is(err, ErrInUse) {
		t.Errorf("opened twice: %v", err)
	}
	if err := e.Meta().Set("k", []byte("v")); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = mustOpen(t, testConfig(), fs)
	if id := e.Identity(); id.New || id.Boot != 2 || id.Store != first.Store {
		t.Errorf("second start: %+v, first %+v", id, first)
	}
	if v, ok, err := e.Meta().Get("k"); err != nil || !ok || string(v) != "v" {
		t.Errorf("meta: %q %v %v", v, ok, err)
	}
	if err := e.Meta().Set(keyFormat, binary.AppendUvarint(nil, formatVersion+1)); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	var format *FormatError
	if _, err := Open(testConfig(), testEnv(fs)); !errors.As(err, &format) || strings.Contains(err.Error(), "\n") {
		t.Errorf("a newer format: %v", err)
	}
}

func TestPartialDirectoriesAreRefused(t *testing.T) {
	for _, missing := range []string{"rows", "hints", "meta"} {
		fs := vfs.NewMem()
		if err := mustOpen(t, testConfig(), fs).Close(); err != nil {
			t.Fatal(err)
		}
		if err := fs.RemoveAll("data/" + missing); err != nil {
			t.Fatal(err)
		}
		var partial *PartialError
		if _, err := Open(testConfig(), testEnv(fs)); !errors.As(err, &partial) {
			t.Errorf("without %s: %v", missing, err)
		}
	}
	one, two := vfs.NewMem(), vfs.NewMem()
	for _, fs := range []*vfs.MemFS{one, two} {
		if err := mustOpen(t, testConfig(), fs).Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := one.RemoveAll("data/rows"); err != nil {
		t.Fatal(err)
	}
	if _, err := vfs.Clone(two, one, "data/rows", "data/rows"); err != nil {
		t.Fatal(err)
	}
	var partial *PartialError
	if _, err := Open(testConfig(), testEnv(one)); !errors.As(err, &partial) {
		t.Errorf("rows of another node: %v", err)
	}
}

// crashRun writes from several goroutines, crashes at some moment, reopens what
// the disk kept (all that was synced, and of the rest about keep percent), and
// returns how many acknowledged writes are gone.
func crashRun(t *testing.T, cfg Config, seed uint64, keep int) (acked, lost int) {
	t.Helper()
	fs := vfs.NewCrashableMem()
	e := mustOpen(t, cfg, fs)
	shape := record.Shape{Table: 9, Clustering: []record.Component{{Kind: record.Int}}}
	random := rand.New(rand.NewPCG(seed, 1))
	const writers, crashAfter = 6, 1500
	var total atomic.Int64
	var clone *vfs.MemFS
	stop := make(chan struct{})
	ackedBefore := make([][][]byte, writers)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				pk := []byte{byte(w), byte(i % 7)}
				key := rowKey(t, &shape, pk, i)
				row := record.Row{Liveness: record.Liveness{Timestamp: int64(i + 1)}}
				item := newWrite(key, row.Append(nil))
				if e.Submit(e.CommitterOf(token.Of(pk).Range()), item) != nil || <-item.done != nil {
					return
				}
				select {
				case <-stop:
					return
				default:
					ackedBefore[w] = append(ackedBefore[w], key)
				}
				if total.Add(1) == crashAfter {
					close(stop) // what is acknowledged from here on is not counted
					clone = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: keep, RNG: random})
				}
			}
		})
	}
	wg.Wait()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = mustOpen(t, cfg, clone)
	defer e.Close()
	for _, keys := range ackedBefore {
		for _, key := range keys {
			acked++
			if _, ok, err := get(e.rows, key); err != nil || !ok {
				lost++
			}
		}
	}
	return acked, lost
}

func rowKey(t testing.TB, s *record.Shape, pk []byte, n int) []byte {
	suffix, err := s.AppendSuffix(nil, binary.BigEndian.AppendUint32(nil, uint32(n)))
	if err != nil {
		t.Fatal(err)
	}
	key, err := s.AppendRowKey(nil, token.Of(pk), pk, suffix)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestCrashLosesNothingAcknowledged, with sync durability. With periodic
// durability and a long interval the same run must lose: that is the proof that
// the test can fail.
func TestCrashLosesNothingAcknowledged(t *testing.T) {
	for seed := range uint64(5) {
		if acked, lost := crashRun(t, testConfig(), seed, int(seed)*25); lost > 0 || acked < 1000 {
			t.Errorf("seed %d: %d of %d acknowledged writes lost", seed, lost, acked)
		}
	}
	cfg := testConfig()
	cfg.Durability, cfg.SyncInterval = Periodic, time.Hour
	if _, lost := crashRun(t, cfg, 1, 0); lost == 0 {
		t.Error("without syncing nothing was lost: this test cannot fail")
	}
}

// stuck is an item that blocks its committer until released.
type stuck struct {
	entered, release chan struct{}
}

func (s *stuck) Bytes() int { return 1 }
func (s *stuck) Stage(*Batch) {
	close(s.entered)
	<-s.release
}
func (s *stuck) Done(error) {}

func TestQueueBoundAndOrder(t *testing.T) {
	cfg := testConfig()
	cfg.Committers, cfg.QueueItems, cfg.QueueBytes = 1, 5, 1000
	e := mustOpen(t, cfg, vfs.NewMem())
	block := &stuck{entered: make(chan struct{}), release: make(chan struct{})}
	if err := e.Submit(0, block); err != nil {
		t.Fatal(err)
	}
	<-block.entered
	key := (&record.Shape{Table: 9}).AppendHeadKey(nil, 5, []byte("p"))
	var queued []*write
	for range 3 {
		w := newWrite(key, []byte{1, 0, 0})
		if err := e.Submit(0, w); err != nil {
			t.Fatal(err)
		}
		queued = append(queued, w)
	}
	if err := e.Submit(0, newWrite(key, make([]byte, 2000))); !errors.Is(err, ErrOverloaded) {
		t.Errorf("over the byte bound: %v", err)
	}
	if err := e.Submit(0, newWrite(key, []byte{1, 0, 0})); err != nil {
		t.Errorf("the fifth: %v", err)
	}
	if err := e.Submit(0, newWrite(key, []byte{1, 0, 0})); !errors.Is(err, ErrOverloaded) {
		t.Errorf("over the item bound: %v", err)
	}
	gaveUp, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Between(gaveUp, 0, func() error { t.Error("ran after it was given up"); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("Between given up: %v", err)
	}
	seen := make(chan error, 1)
	go func() {
		seen <- e.Between(t.Context(), 0, func() error {
			_, ok, err := get(e.rows, key)
			if !ok && err == nil {
				err = errors.New("what was queued before is not visible")
			}
			return err
		})
	}()
	close(block.release)
	if err := <-seen; err != nil {
		t.Error(err)
	}
	for _, w := range queued {
		if err := <-w.done; err != nil {
			t.Error(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := e.Submit(0, newWrite(key, nil)); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestMemorySplitStaysWithinItsTotal(t *testing.T) {
	for _, total := range []int64{4 << 20, 32 << 20, 96 << 20, 160 << 20, 4 << 30} {
		for _, cgo := range []bool{true, false} {
			m := splitMemory(total, cgo)
			limit := total
			if !cgo {
				limit /= 2
			}
			memtables := memtableStop*int64(m.memtable) + 4*int64(m.small)
			if m.total > limit || memtables > limit*3/4 || m.memtable > 16<<20 {
				t.Errorf("%d bytes, cgo %v: %+v, at most %d in memtables", total, cgo, m, memtables)
			}
		}
	}
}
