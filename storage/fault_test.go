package storage

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/storage/space"
	"github.com/dunlindb/dunlin/token"
)

// faultyFS passes every operation by inject once it is armed. Pebble's errorfs
// does not wrap recycled logs; here they are opened anew.
type faultyFS struct {
	vfs.FS
	armed atomic.Bool
	free  atomic.Uint64 // bytes that GetDiskUsage reports; 0: not supported
}

func newFaultyFS(base vfs.FS, inject func(errorfs.Op) error) *faultyFS {
	f := &faultyFS{}
	f.FS = errorfs.Wrap(base, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if !f.armed.Load() {
			return nil
		}
		return inject(op)
	}))
	return f
}

func (f *faultyFS) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.Rename(from, to); err != nil {
		return nil, err
	}
	return f.OpenReadWrite(to, category)
}

func (f *faultyFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	if free := f.free.Load(); free > 0 {
		return vfs.DiskUsage{AvailBytes: free, TotalBytes: 1 << 40}, nil
	}
	return vfs.DiskUsage{}, vfs.ErrUnsupported
}

func isSync(op errorfs.Op) bool {
	return op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo
}

var plainShape = record.Shape{Table: 9, Clustering: []record.Component{{Kind: record.Int}}}

func liveRow(ts int64) []byte {
	row := record.Row{Liveness: record.Liveness{Timestamp: ts}}
	return row.Append(nil)
}

func submit(e *Engine, key, value []byte) error {
	tok, _ := record.KeyToken(key)
	w := newWrite(key, value)
	if err := e.Submit(e.CommitterOf(tok.Range()), w); err != nil {
		return err
	}
	return <-w.done
}

// TestPeriodicLosesAtMostAnInterval: of the writes acknowledged before a crash,
// only those of the last interval may be gone. The run with a long interval shows
// that the test would notice.
func TestPeriodicLosesAtMostAnInterval(t *testing.T) {
	lost := func(interval time.Duration) (early, late int) {
		synctest.Test(t, func(t *testing.T) {
			const bound = 10 * time.Millisecond
			cfg := testConfig()
			cfg.Durability, cfg.SyncInterval = Periodic, interval
			fs := vfs.NewCrashableMem()
			e := mustOpen(t, cfg, fs)
			acked := map[string]time.Time{}
			for i := range 200 {
				time.Sleep(time.Millisecond)
				key := rowKey(t, &plainShape, []byte{byte(i)}, i)
				put(t, e, key, liveRow(1))
				acked[string(key)] = time.Now()
			}
			time.Sleep(time.Millisecond)
			crash := time.Now()
			clone := fs.CrashClone(vfs.CrashCloneCfg{})
			if err := e.Close(); err != nil {
				t.Error(err)
			}
			e = mustOpen(t, cfg, clone)
			for key, at := range acked {
				if _, ok, err := get(e.rows, []byte(key)); err == nil && ok {
					continue
				}
				if crash.Sub(at) > bound {
					early++
				} else {
					late++
				}
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
		return early, late
	}
	if early, late := lost(10 * time.Millisecond); early > 0 {
		t.Errorf("lost %d rows that were older than the interval, and %d younger", early, late)
	}
	if early, _ := lost(time.Hour); early == 0 {
		t.Error("without the ticker nothing was lost: this test cannot fail")
	}
}

// TestPeriodicCloseSyncs: an orderly end loses nothing, whatever the interval.
func TestPeriodicCloseSyncs(t *testing.T) {
	cfg := testConfig()
	cfg.Durability, cfg.SyncInterval = Periodic, time.Hour
	fs := vfs.NewCrashableMem()
	e := mustOpen(t, cfg, fs)
	key := rowKey(t, &plainShape, []byte("p"), 1)
	put(t, e, key, liveRow(1))
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = mustOpen(t, cfg, fs.CrashClone(vfs.CrashCloneCfg{}))
	defer e.Close()
	if _, ok, err := get(e.rows, key); err != nil || !ok {
		t.Errorf("after Close and a power failure: %v %v", ok, err)
	}
}

// TestSlowDiskInVirtualTime: with a disk that needs 10 ms a sync, nothing is
// acknowledged earlier, many writers share a sync, and virtual time never stops.
func TestSlowDiskInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const latency = 10 * time.Millisecond
		fs := newFaultyFS(vfs.NewMem(), func(op errorfs.Op) error {
			if isSync(op) {
				time.Sleep(latency)
			}
			return nil
		})
		cfg := testConfig()
		cfg.Committers = 1
		e := mustOpen(t, cfg, fs)
		fs.armed.Store(true)
		begun := time.Now()
		var wg sync.WaitGroup
		const writers, each = 16, 20
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					at := time.Now()
					key := rowKey(t, &plainShape, []byte{byte(w)}, i)
					if err := submit(e, key, liveRow(1)); err != nil {
						t.Error(err)
					}
					if waited := time.Since(at); waited < latency {
						t.Errorf("acknowledged after %s", waited)
					}
					if err := e.Meta().Set(fmt.Sprint("k", w), []byte{byte(i)}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		// The facts take turns, so they set the pace: one sync each.
		if took := time.Since(begun); took > (writers*each+2*each)*latency {
			t.Errorf("%d writes took %s: they do not share syncs", writers*each, took)
		}
		fs.armed.Store(false)
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestEverythingEnds: an engine as in production leaves no goroutine behind, not
// even when it is refused (the bubble would not end).
func TestEverythingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, durability := range []Durability{Sync, Periodic} {
			fs := vfs.NewMem()
			cfg := testConfig()
			cfg.Durability = durability
			env := testEnv(fs)
			env.Simulated = false
			e, err := Open(cfg, env)
			if err != nil {
				t.Fatal(err)
			}
			put(t, e, rowKey(t, &plainShape, []byte("p"), 1), liveRow(1))
			again := testEnv(fs)
			again.Simulated = false
			if _, err := Open(cfg, again); !errors.Is(err, ErrInUse) {
				t.Errorf("opened twice: %v", err)
			}
			if err := errors.Join(e.Close(), e.Close()); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestLogErrorsAreFatal: when the log cannot be written or synced, Fatal hears of
// it, nothing is acknowledged any more, Close returns, and what was acknowledged
// before is there after a restart.
func TestLogErrorsAreFatal(t *testing.T) {
	kinds := map[string]func(errorfs.Op) bool{
		"sync":  isSync,
		"write": func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileWrite },
	}
	for _, durability := range []Durability{Sync, Periodic} {
		for name, hit := range kinds {
			t.Run(string(durability)+"/"+name, func(t *testing.T) { logErrorRun(t, durability, hit) })
		}
	}
}

func logErrorRun(t *testing.T, durability Durability, hit func(errorfs.Op) bool) {
	broken := errors.New("broken disk")
	base := vfs.NewCrashableMem()
	fs := newFaultyFS(base, func(op errorfs.Op) error {
		if strings.Contains(op.Path, "rows") && strings.HasSuffix(op.Path, ".log") && hit(op) {
			return broken
		}
		return nil
	})
	cfg := testConfig()
	cfg.Durability = durability
	env := testEnv(fs)
	fatal := make(chan error, 100)
	env.Fatal = func(err error) { fatal <- err }
	e, err := Open(cfg, env)
	if err != nil {
		t.Fatal(err)
	}
	before := rowKey(t, &plainShape, []byte("before"), 1)
	put(t, e, before, liveRow(1))
	if durability == Periodic {
		if err := e.rows.LogData(nil, nil); err != nil { // synced: what the syncer does
			t.Fatal(err)
		}
	}
	fs.armed.Store(true)
	failed := submit(e, rowKey(t, &plainShape, []byte("during"), 1), liveRow(1))
	if durability == Sync && failed == nil {
		t.Error("acknowledged what is not on disk")
	}
	if err := <-fatal; !errors.Is(err, broken) && !strings.Contains(err.Error(), broken.Error()) {
		t.Errorf("Fatal heard %v", err)
	}
	for i := range 20 {
		if err := submit(e, rowKey(t, &plainShape, []byte{byte(i)}, 1), liveRow(1)); err == nil {
			t.Error("acknowledged after a fatal error")
		}
	}
	if err := e.Meta().Set("k", nil); err == nil {
		t.Error("a fact was acknowledged after a fatal error")
	}
	clone := base.CrashClone(vfs.CrashCloneCfg{})
	fs.armed.Store(false)
	_ = e.Close() // it may well report the broken log
	e = mustOpen(t, cfg, clone)
	defer e.Close()
	if _, ok, err := get(e.rows, before); err != nil || !ok {
		t.Errorf("acknowledged before the error, and gone: %v %v", ok, err)
	}
}

// TestFullDiskRefusesAndRecovers: below the reserve writes get a clear error while
// reads go on, and a second after space is back writes go on too.
func TestFullDiskRefusesAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFaultyFS(vfs.NewMem(), nil)
		cfg := testConfig()
		fs.free.Store(1 << 40)
		e := mustOpen(t, cfg, fs)
		key := rowKey(t, &plainShape, []byte("p"), 1)
		put(t, e, key, liveRow(1))
		time.Sleep(2 * space.CheckEvery)
		fs.free.Store(uint64(cfg.DiskReserve) - 1)
		var full *DiskFullError
		if err := submit(e, key, liveRow(2)); !errors.As(err, &full) || strings.Contains(err.Error(), "\n") {
			t.Errorf("on a full disk: %v", err)
		}
		var got Slice
		q := SliceRequest{Shape: &plainShape, Token: token.Of([]byte("p")), Partition: []byte("p"), MaxRows: 1, MaxBytes: 1}
		if err := e.Slice(&q, &got); err != nil || got.Count != 1 {
			t.Errorf("reading on a full disk: %d rows, %v", got.Count, err)
		}
		fs.free.Store(uint64(cfg.DiskReserve) + 1) // not enough to begin again
		time.Sleep(2 * space.CheckEvery)
		if err := submit(e, key, liveRow(3)); !errors.As(err, &full) {
			t.Errorf("a little space: %v", err)
		}
		fs.free.Store(1 << 40)
		time.Sleep(2 * space.CheckEvery)
		if err := submit(e, key, liveRow(4)); err != nil {
			t.Errorf("with space again: %v", err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
}

// freeing is an item that says whether it frees space.
type freeing struct {
	*write
	frees bool
}

func (f freeing) Frees() bool { return f.frees }

// TestFullDiskTakesDeletions, as far as half of the reserve; what does not free space
// is refused around them, and each item hears for itself.
func TestFullDiskTakesDeletions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFaultyFS(vfs.NewMem(), nil)
		cfg := testConfig()
		fs.free.Store(1 << 40)
		e := mustOpen(t, cfg, fs)
		try := func(n int, frees bool) error {
			item := freeing{newWrite(rowKey(t, &plainShape, []byte("p"), n), liveRow(1)), frees}
			if err := e.Submit(0, item); err != nil {
				return err
			}
			return <-item.done
		}
		var full *DiskFullError
		for _, free := range []int64{int64(cfg.DiskReserve) - 1, int64(cfg.DiskReserve)/2 + 1, int64(cfg.DiskReserve)/2 - 1} {
			fs.free.Store(uint64(free))
			time.Sleep(2 * space.CheckEvery)
			wedged := free < int64(cfg.DiskReserve)/2
			if err := try(1, false); !errors.As(err, &full) {
				t.Errorf("%d free: a write: %v", free, err)
			}
			if err := try(2, true); errors.As(err, &full) != wedged || !wedged && err != nil {
				t.Errorf("%d free: a deletion: %v", free, err)
			}
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
}

// fillTables writes rows and restarts, so that they are in table files only.
func fillTables(t *testing.T, fs vfs.FS) *Engine {
	e := mustOpen(t, testConfig(), fs)
	random := rand.NewChaCha8([32]byte{})
	for i := range 500 {
		value := make([]byte, 300)
		_, _ = random.Read(value) // never fails
		row := record.Row{Cells: []record.Cell{{Column: 1, Timestamp: 1, Value: value}}}
		put(t, e, rowKey(t, &plainShape, []byte("p"), i), row.Append(nil))
	}
	if err := e.rows.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return mustOpen(t, testConfig(), fs)
}

// TestDamagedFilesAreErrors: a flipped bit in a table is ErrCorrupt, a read that
// fails is an error that heals; neither serves rows, and neither ends the node.
func TestDamagedFilesAreErrors(t *testing.T) {
	q := SliceRequest{Shape: &plainShape, Token: token.Of([]byte("p")), Partition: []byte("p"), MaxRows: 1000, MaxBytes: 1 << 20}
	scan := ScanRequest{Shape: &plainShape, From: token.Min, To: token.Max, MaxRows: 1000, MaxBytes: 1 << 20}

	failing := errors.New("cannot read")
	fs := newFaultyFS(vfs.NewMem(), func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileReadAt && strings.HasSuffix(op.Path, ".sst") {
			return failing
		}
		return nil
	})
	e := fillTables(t, fs)
	fs.armed.Store(true)
	if err := e.Slice(&q, &Slice{}); !errors.Is(err, failing) || errors.Is(err, ErrCorrupt) {
		t.Errorf("slice with a failing disk: %v", err)
	}
	if err := e.Scan(&scan, &ScanAnswer{}); !errors.Is(err, failing) {
		t.Errorf("scan with a failing disk: %v", err)
	}
	fs.armed.Store(false)
	var healed Slice
	if err := e.Slice(&q, &healed); err != nil || healed.Count != 500 {
		t.Errorf("healed: %d rows, %v", healed.Count, err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}

	mem := vfs.NewMem()
	if err := fillTables(t, mem).Close(); err != nil {
		t.Fatal(err)
	}
	damageTables(t, mem, 0.5) // in the middle: the first block is read at the start
	env := testEnv(mem)
	env.Fatal = func(err error) { t.Errorf("ended by %v", err) }
	e, err := Open(testConfig(), env)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.Slice(&q, &Slice{}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("slice of a damaged table: %v", err)
	}
	if err := e.Scan(&scan, &ScanAnswer{}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("scan of a damaged table: %v", err)
	}
	put(t, e, rowKey(t, &plainShape, []byte("q"), 1), liveRow(1)) // other partitions go on
}

// damageTables flips a bit in each of the row store's tables, that far into it.
func damageTables(t *testing.T, fs vfs.FS, at float64) {
	names, err := fs.List("data/rows")
	if err != nil {
		t.Fatal(err)
	}
	damaged := 0
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		path := "data/rows/" + name
		f, err := fs.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		content[int(at*float64(len(content)))] ^= 4
		out, err := fs.Create(path, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		_, err = out.Write(content)
		if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
			t.Fatal(err)
		}
		damaged++
	}
	if damaged == 0 {
		t.Fatal("no tables")
	}
}

// TestCrashesWhileOpening at every file operation of a first and a second start:
// the next start succeeds, and the boot number never repeats. (Directory entries
// that are not synced survive all or none: Pebble trusts the file system to keep
// them in order.)
func TestCrashesWhileOpening(t *testing.T) {
	stride := 4
	if testing.Short() {
		stride = 16
	}
	for _, second := range []bool{false, true} {
		for n := 0; ; n += stride {
			random := rand.New(rand.NewPCG(uint64(n), 3))
			base := vfs.NewCrashableMem()
			if second {
				if err := mustOpen(t, testConfig(), base).Close(); err != nil {
					t.Fatal(err)
				}
			}
			var clone *vfs.MemFS
			var at atomic.Int64
			fs := newFaultyFS(base, func(errorfs.Op) error {
				if at.Add(1) == int64(n)+1 {
					clone = base.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100 * random.IntN(2), RNG: random})
				}
				return nil
			})
			fs.armed.Store(true)
			e := mustOpen(t, testConfig(), fs)
			fs.armed.Store(false)
			opened := e.Identity()
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			if clone == nil {
				break // n is beyond the last operation
			}
			e, err := Open(testConfig(), testEnv(clone))
			if err != nil {
				t.Fatalf("second %v, crash at operation %d: %v", second, n, err)
			}
			id := e.Identity()
			if second && (id.New || id.Store != opened.Store || id.Boot < opened.Boot) {
				t.Errorf("crash at operation %d: %+v, was opening as %+v", n, id, opened)
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestNothingPanicsAfterClose, nor while reads and scrapes race with it.
func TestNothingPanicsAfterClose(t *testing.T) {
	registry := prometheus.NewRegistry()
	env := testEnv(vfs.NewMem())
	env.Registerer = registry
	e, err := Open(testConfig(), env)
	if err != nil {
		t.Fatal(err)
	}
	put(t, e, rowKey(t, &plainShape, []byte("p"), 1), liveRow(1))
	if families, err := registry.Gather(); err != nil || len(families) < 25 {
		t.Errorf("%d metrics, %v", len(families), err)
	}
	q := SliceRequest{Shape: &plainShape, Token: token.Of([]byte("p")), Partition: []byte("p"), MaxRows: 1, MaxBytes: 1}
	scan := ScanRequest{Shape: &plainShape, From: token.Min, To: token.Max, MaxRows: 1, MaxBytes: 1}
	calls := map[string]func() error{
		"slice": func() error { return e.Slice(&q, &Slice{}) },
		"scan":  func() error { return e.Scan(&scan, &ScanAnswer{}) },
		"stats": func() error { _, err := e.Stats([]uint32{9}); return err },
		"rows":  func() error { _, err := e.RowsEstimate(); return err },
		"get":   func() error { _, _, err := e.Meta().Get("k"); return err },
		"set":   func() error { return e.Meta().Set("k", nil) },
		"scrape": func() error {
			e.Pressure()
			if _, err := registry.Gather(); err != nil {
				return err
			}
			if e.gate.Enter() {
				e.gate.Leave()
				return nil
			}
			return ErrClosed
		},
	}
	var wg sync.WaitGroup
	for name, call := range calls {
		wg.Go(func() {
			for {
				if err := call(); err != nil {
					if !errors.Is(err, ErrClosed) {
						t.Errorf("%s: %v", name, err)
					}
					return
				}
			}
		})
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
}
