package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"

	"github.com/dunlindb/dunlin/storage/gate"
	"github.com/dunlindb/dunlin/storage/limits"
	"github.com/dunlindb/dunlin/storage/pacing"
	"github.com/dunlindb/dunlin/storage/pressure"
	"github.com/dunlindb/dunlin/storage/quiet"
	"github.com/dunlindb/dunlin/token"
)

// formatVersion is the version of everything under the directory that is not
// Pebble's; a higher one is refused.
const formatVersion = 1

// The stores' directories.
const (
	metaDir  = "meta"
	rowsDir  = "rows"
	hintsDir = "hints"
)

// Engine is a node's stores. Make it with Open, end it with Close.
type Engine struct {
	cfg     Config
	env     Env
	memory  memory
	metrics *metrics

	meta, rows, hints *pebble.DB
	health            io.Closer // of the watch over slow disk operations; nil in the simulator
	slowLog           quiet.Limit
	pace              *pacing.Scheduler // of the row store's compactions
	facts             *Meta
	identity          Identity
	windows           *windows
	readers           sync.Pool // of *slicer
	committers        []*committer
	syncer            *syncer
	pressure          pressure.Guard
	running           sync.WaitGroup
	gate              *gate.Gate            // around every call into the stores but the committers'
	fault             atomic.Pointer[error] // the fatal error, after which nothing is acknowledged
	closing           sync.Once

	written  atomic.Uint64 // fragments staged since the start
	flushing atomic.Uint64 // written, when the last flush began
	flushed  atomic.Uint64 // flushing, when the last flush ended
}

// Identity tells this directory from all others, and this start from the last.
type Identity struct {
	Store uuid.UUID // made with the directory
	Boot  uint64    // number of this start, from 1
	New   bool      // the directory was made by this start
}

// Open opens the stores, making them at the very first start. The errors are
// ErrInUse, *FormatError and *PartialError, each one clear line, and others.
func Open(cfg Config, env Env) (*Engine, error) {
	if err := errors.Join(cfg.Validate(), env.validate()); err != nil {
		return nil, err
	}
	e := newEngine(cfg, env)
	if !offHeap {
		env.Logger.Warn("built without cgo: caches and memtables are halved to keep within the memory budget")
	}
	if err := makeDir(e.env.FS, cfg.Dir); err != nil {
		return nil, fmt.Errorf("storage: make the data directory: %w", err)
	}
	if err := e.openStores(); err != nil {
		return nil, errors.Join(err, e.closeStores())
	}
	if err := e.begin(); err != nil {
		return nil, errors.Join(err, e.closeStores())
	}
	return e, nil
}

func newEngine(cfg Config, env Env) *Engine {
	e := &Engine{
		cfg: cfg, env: env, gate: gate.New(),
		memory: splitMemory(cfg.Memory, offHeap), metrics: newMetrics(env.Registerer),
	}
	e.pressure.Measure = func() int { return e.Pressure().Sublevels }
	e.pressure.Tell = func(shedding bool, sublevels int) {
		env.Logger.Warn("storage: compactions are behind", "writes_refused", shedding, "sublevels", sublevels)
	}
	e.facts = &Meta{engine: e, turn: make(chan struct{}, 1)}
	if !env.Simulated {
		e.env.FS, e.health = vfs.WithDiskHealthChecks(env.FS, diskSlowAfter, nil, e.diskSlow)
	}
	return e
}

// makeDir makes a directory that survives a crash: its parent is synced.
func makeDir(fs FS, dir string) error {
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return syncDir(fs, filepath.Dir(filepath.Clean(dir)))
}

func syncDir(fs FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// openStores opens meta first: its lock guards the directory.
func (e *Engine) openStores() error {
	existing, err := e.existing()
	if err != nil {
		return err
	}
	cache := pebble.NewCache(e.memory.total)
	defer cache.Unref()
	small := max(limits.OpenFiles()/8, 64)
	for _, s := range []struct {
		dir     string
		db      **pebble.DB
		options *pebble.Options
	}{
		{metaDir, &e.meta, e.smallOptions(cache, small)},
		{hintsDir, &e.hints, e.smallOptions(cache, small)},
		{rowsDir, &e.rows, e.rowOptions(cache, limits.OpenFiles()-2*small)},
	} {
		s.options.ErrorIfNotExists = existing
		db, err := pebble.Open(filepath.Join(e.cfg.Dir, s.dir), s.options)
		if err != nil {
			return e.openError(s.dir, err)
		}
		*s.db = db
		if s.dir == metaDir {
			if err := e.checkFormat(); err != nil {
				return err
			}
		}
	}
	return nil
}

// complete is a file that exists once all three stores were made, so that a
// first start that was cut short is not taken for a damaged directory.
const complete = "COMPLETE"

// existing reports whether the directory was made whole by an earlier start.
func (e *Engine) existing() (bool, error) {
	names, err := e.env.FS.List(e.cfg.Dir)
	if err != nil {
		return false, fmt.Errorf("storage: list the data directory: %w", err)
	}
	found := map[string]bool{}
	for _, n := range names {
		found[strings.TrimSuffix(n, "/")] = true
	}
	if !found[complete] {
		return false, nil
	}
	for _, dir := range []string{metaDir, rowsDir, hintsDir} {
		if !found[dir] {
			return false, &PartialError{Dir: e.cfg.Dir, Reason: "the store " + dir + " is missing"}
		}
	}
	return true, nil
}

func (e *Engine) openError(dir string, err error) error {
	switch {
	case errors.Is(err, pebble.ErrDBDoesNotExist):
		return &PartialError{Dir: e.cfg.Dir, Reason: "the store " + dir + " is empty"}
	case errors.Is(err, fs.ErrNotExist):
		line, _, _ := strings.Cut(err.Error(), "\n")
		return &PartialError{Dir: e.cfg.Dir, Reason: "a file of the store " + dir + " is missing: " + line}
	case isLocked(err):
		return fmt.Errorf("%w (%s)", ErrInUse, e.cfg.Dir)
	}
	if _, version, ok := strings.Cut(err.Error(), "unknown format major version "); ok {
		found, _ := strconv.ParseUint(version, 10, 64)
		return &FormatError{Dir: filepath.Join(e.cfg.Dir, dir), Found: found, Known: uint64(formatMajorVersion)}
	}
	return corrupted("storage: open "+filepath.Join(e.cfg.Dir, dir), err)
}

// isLocked recognises the lock of another process, or of this one, for which
// Pebble has no type.
func isLocked(err error) bool {
	return limits.IsLock(err) || strings.Contains(err.Error(), "lock held by current process")
}

// Keys of the meta store that the engine keeps for itself.
const (
	keyFormat = "storage/format"
	keyStore  = "storage/store"
	keyBoot   = "storage/boot"

	keyRowStore = "\x00\x00\x00\x00" + keyStore // below all tables, whose ids begin at 1
)

func (e *Engine) checkFormat() error {
	value, ok, err := e.facts.Get(keyFormat)
	if err != nil || !ok {
		return err
	}
	found, n := binary.Uvarint(value)
	if n <= 0 || found > formatVersion {
		return &FormatError{Dir: e.cfg.Dir, Found: found, Known: formatVersion}
	}
	return nil
}

// begin settles identity and starts the goroutines.
func (e *Engine) begin() error {
	if err := e.identify(); err != nil {
		return err
	}
	var err error
	if e.windows, err = findWindows(e.rows); err != nil {
		return err
	}
	e.metrics.watch(e)
	e.syncer = newSyncer(e.rows, e.cfg.SyncInterval)
	e.running.Go(e.syncer.run)
	for range e.cfg.committers() {
		c := newCommitter(e)
		e.committers = append(e.committers, c)
		e.running.Go(c.run)
		e.running.Go(c.ack)
	}
	return nil
}

// stores lists the stores in the order in which they get the store id.
func (e *Engine) stores() []store {
	return []store{{metaDir, keyStore, e.meta}, {hintsDir, keyStore, e.hints}, {rowsDir, keyRowStore, e.rows}}
}

// store is one of the three, with the key of the store id.
type store struct {
	name, key string
	db        *pebble.DB
}

// identify reads or makes the store id, counts the boot number up, and syncs both.
func (e *Engine) identify() error {
	var ids []uuid.UUID
	for _, s := range e.stores() {
		value, ok, err := get(s.db, []byte(s.key))
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		id, err := uuid.FromBytes(value)
		if err != nil {
			return &PartialError{Dir: e.cfg.Dir, Reason: "the store id of " + s.name + " is not readable"}
		}
		ids = append(ids, id)
	}
	fresh, err := e.unused()
	switch {
	case err != nil:
		return err
	case fresh:
		return e.create()
	case len(ids) < 3:
		return &PartialError{Dir: e.cfg.Dir, Reason: "one of its stores was made anew or has lost its store id"}
	case ids[0] != ids[1] || ids[0] != ids[2]:
		return &PartialError{Dir: e.cfg.Dir, Reason: "its stores come from different nodes"}
	}
	value, _, err := e.facts.Get(keyBoot)
	if err != nil {
		return err
	}
	boot, n := binary.Uvarint(value)
	if n <= 0 {
		return &PartialError{Dir: e.cfg.Dir, Reason: "its boot number is missing"}
	}
	e.identity = Identity{Store: ids[0], Boot: boot + 1}
	return e.facts.Set(keyBoot, binary.AppendUvarint(nil, boot+1))
}

// unused reports that nothing but the first steps of a first start was ever
// written: such a directory may be made from the beginning.
func (e *Engine) unused() (bool, error) {
	if e.isComplete() {
		return false, nil
	}
	for _, s := range e.stores() {
		iter, err := s.db.NewIter(nil)
		if err != nil {
			return false, corrupted("storage: look for data", err)
		}
		for ok := iter.First(); ok; ok = iter.Next() {
			if key := string(iter.Key()); key != s.key && key != keyFormat && key != keyBoot {
				return false, iter.Close()
			}
		}
		if err := iter.Close(); err != nil {
			return false, corrupted("storage: look for data", err)
		}
	}
	return true, nil
}

func (e *Engine) isComplete() bool {
	_, err := e.env.FS.Stat(filepath.Join(e.cfg.Dir, complete))
	return err == nil
}

func (e *Engine) create() error {
	e.identity = Identity{Store: uuid.New(), Boot: 1, New: true}
	for _, s := range e.stores() {
		if err := s.db.Set([]byte(s.key), e.identity.Store[:], pebble.Sync); err != nil {
			return fmt.Errorf("storage: write the store id: %w", err)
		}
	}
	if err := e.facts.Set(keyFormat, binary.AppendUvarint(nil, formatVersion)); err != nil {
		return err
	}
	if err := e.facts.Set(keyBoot, binary.AppendUvarint(nil, 1)); err != nil {
		return err
	}
	return e.markComplete()
}

func (e *Engine) markComplete() error {
	f, err := e.env.FS.Create(filepath.Join(e.cfg.Dir, complete), "")
	if err != nil {
		return fmt.Errorf("storage: mark the directory complete: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("storage: mark the directory complete: %w", err)
	}
	if err := syncDir(e.env.FS, e.cfg.Dir); err != nil {
		return fmt.Errorf("storage: sync the data directory: %w", err)
	}
	return nil
}

// Identity returns who this directory is.
func (e *Engine) Identity() Identity { return e.identity }

// CommitterOf is the committer that writes a range.
func (e *Engine) CommitterOf(r token.RangeID) int { return int(r) % len(e.committers) }

// fatal stops all acknowledgements and passes the error on. It may return.
func (e *Engine) fatal(err error) {
	e.fault.CompareAndSwap(nil, &err)
	e.env.Fatal(err)
}

// stopped is the fatal error, if there was one.
func (e *Engine) stopped() error {
	if p := e.fault.Load(); p != nil {
		return *p
	}
	return nil
}

// Close commits what is queued, answers it, waits for reads in progress, and
// closes the stores. Whatever is asked of the engine after it gets ErrClosed.
func (e *Engine) Close() (err error) {
	e.closing.Do(func() {
		for _, c := range e.committers {
			c.close()
		}
		e.syncer.stop()
		e.running.Wait()
		e.metrics.unwatch()
		e.gate.Close()
		err = e.closeStores()
	})
	return err
}

func (e *Engine) closeStores() error {
	var errs []error
	for _, db := range []*pebble.DB{e.rows, e.hints, e.meta} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	if e.health != nil {
		errs = append(errs, e.health.Close())
	}
	return errors.Join(errs...)
}
