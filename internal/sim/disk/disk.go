// Package disk is a node's disk in memory: a file system that can crash, losing
// what was not synced, and fail on demand.
//
// Invariants:
//
//   - What was synced survives every Crash; of the rest, each block and each
//     directory entry survives with the chance that Crash is given.
//   - A boot that has ended may go on writing: it has its own copy, and nothing
//     of it reaches the next boot.
//   - Every operation of a boot passes its injector, recycled files included.
//
// The package starts no goroutines and never sleeps: a sleep below the storage
// engine, with one of its mutexes held, would stop virtual time.
package disk

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// Op is an operation that an injector may fail.
type Op = errorfs.Op

// Injector decides, on the goroutine that does the operation, whether it fails.
// It must not block.
type Injector func(Op) error

// Disk is one node's disk. Make it with New.
type Disk struct {
	rand *rand.Rand

	mu       sync.Mutex // guards the fields below
	mem      *vfs.MemFS
	injector Injector
	full     bool
	failing  bool
	boot     int
}

// New makes an empty disk.
func New(seed uint64) *Disk {
	return &Disk{rand: rand.New(rand.NewPCG(seed, 0xd15c)), mem: vfs.NewCrashableMem()}
}

// FS returns the file system as this boot sees it. After a Crash, a new boot
// needs a new one.
func (d *Disk) FS() vfs.FS {
	d.mu.Lock()
	defer d.mu.Unlock()
	boot := d.boot
	check := errorfs.InjectorFunc(func(op Op) error { return d.inject(boot, op) })
	return fileSystem{FS: errorfs.Wrap(d.mem, check), check: check, disk: d}
}

// Inject fails operations of the present boot from now on; nil ends it. A Crash
// ends it too.
func (d *Disk) Inject(f Injector) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.injector = f
}

func (d *Disk) inject(boot int, op Op) error {
	d.mu.Lock()
	f := d.injector
	current := boot == d.boot
	d.mu.Unlock()
	if f == nil || !current {
		return nil
	}
	return f(op)
}

// Fill makes the disk say that it is full, or has room again. Writes still succeed:
// it is for its users to stop in time.
func (d *Disk) Fill(full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = full
}

// ErrDevice is what operations on a failing disk end with.
var ErrDevice = errors.New("input/output error")

// tableErrors is which part of the operations on tables fails, and logErrors of
// the writes to everything else.
const tableErrors, logErrors = 0.02, 0.005

// Fail lets operations of the present boot fail at random until Recover or a Crash.
// Reading and writing tables returns ErrDevice. A storage engine does not survive a
// write to a log that fails: dies is called, and from before that write on the disk
// is one that has crashed. It must not block.
func (d *Disk) Fail(dies func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failing = true
	draw := rand.New(rand.NewPCG(d.rand.Uint64(), 0))
	var turn sync.Mutex // guards draw
	d.injector = func(op Op) error {
		turn.Lock()
		chance := draw.Float64()
		turn.Unlock()
		write := op.Kind.ReadOrWrite() == errorfs.OpIsWrite
		switch table := strings.HasSuffix(op.Path, ".sst"); {
		case op.Kind == errorfs.OpFileClose, op.Kind == errorfs.OpRemove:
		case table && chance < tableErrors:
			return ErrDevice
		case !table && write && chance < logErrors:
			dies()
			d.Crash(0)
		}
		return nil
	}
}

// Recover ends Fail.
func (d *Disk) Recover() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failing {
		d.injector, d.failing = nil, false
	}
}

// Failing reports whether operations fail at random, or have until a crash, or the
// disk is full.
func (d *Disk) Failing() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failing || d.full
}

// Crash replaces the content by what a crash at this moment leaves: all that
// was synced, and each unsynced piece with a chance of keep percent.
func (d *Disk) Crash(keep int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mem = d.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: keep, RNG: d.rand})
	d.injector = nil
	d.boot++
}

// Rot flips a bit in every table file below a directory that contains a text, inside
// it, and returns how many there were. Caches above do not notice.
func (d *Disk) Rot(dir string, text []byte) (rotten int, err error) {
	d.mu.Lock()
	mem := d.mem
	d.mu.Unlock()
	names, err := mem.List(dir)
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		hit, flipErr := flip(mem, mem.PathJoin(dir, name), text)
		err = errors.Join(err, flipErr)
		if hit {
			rotten++
		}
	}
	return rotten, err
}

func flip(fs vfs.FS, path string, text []byte) (hit bool, err error) {
	f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	content := make([]byte, info.Size())
	if _, err := f.ReadAt(content, 0); err != nil {
		return false, err
	}
	at := bytes.Index(content, text)
	if at < 0 {
		return false, nil
	}
	if _, err = f.WriteAt([]byte{content[at] ^ 4}, int64(at)); err == nil {
		err = f.Sync()
	}
	return err == nil, err
}

// Wipe leaves an empty disk.
func (d *Disk) Wipe() { d.Restore(vfs.NewCrashableMem()) }

// Copy returns an image of the disk as it is, to be put back with Restore: a
// backup of the kind that operators make of virtual machines.
func (d *Disk) Copy() *vfs.MemFS {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: d.rand})
}

// Restore replaces the content by an image. The node must not be running.
func (d *Disk) Restore(image *vfs.MemFS) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mem = image
	d.injector = nil
	d.boot++
}

// fileSystem closes a gap of errorfs, whose ReuseForWrite returns a file that
// escapes injection: recycled logs would never fail.
type fileSystem struct {
	vfs.FS
	check errorfs.Injector
	disk  *Disk
}

// GetDiskUsage says how much room there is: a lot, or next to nothing.
func (f fileSystem) GetDiskUsage(string) (vfs.DiskUsage, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	const total, left = 1 << 40, 1 << 20
	if f.disk.full {
		return vfs.DiskUsage{AvailBytes: left, TotalBytes: total, UsedBytes: total - left}, nil
	}
	return vfs.DiskUsage{AvailBytes: total, TotalBytes: total}, nil
}

// ReuseForWrite renames a file and opens it for writing.
func (f fileSystem) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.check.MaybeError(Op{Kind: errorfs.OpReuseForWrite, Path: oldname}); err != nil {
		return nil, err
	}
	if err := f.Rename(oldname, newname); err != nil {
		return nil, err
	}
	return f.OpenReadWrite(newname, category)
}

// Unwrap returns the file system below.
func (f fileSystem) Unwrap() vfs.FS { return f.FS }
