package storage

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
)

// FS is the file system that the stores live on.
type FS = vfs.FS

// DefaultFS is the operating system's.
func DefaultFS() FS { return vfs.Default }

// Durability says what an acknowledgement means.
type Durability string

// The durabilities.
const (
	Sync     Durability = "sync"     // the write is on disk
	Periodic Durability = "periodic" // it will be within SyncInterval
)

// Config is how an Engine stores.
type Config struct {
	Dir          string
	Durability   Durability
	SyncInterval time.Duration // of Periodic
	Memory       int64         // bytes for memtables and the block cache
	Committers   int           // 0: one per four cores
	QueueItems   int           // bound of each committer's items that are not answered
	QueueBytes   int           // and of their bytes
	DiskReserve  int64         // bytes: writes are refused while less is free, so that compactions can go on
}

// DefaultConfig is a synced engine with 96 MiB.
func DefaultConfig() Config {
	return Config{
		Durability: Sync, SyncInterval: 5 * time.Millisecond, Memory: 96 << 20,
		QueueItems: 16 << 10, QueueBytes: 16 << 20, DiskReserve: 256 << 20,
	}
}

// Validate reports every setting that makes no sense.
func (c Config) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("storage: no directory"))
	}
	if c.Durability != Sync && c.Durability != Periodic {
		errs = append(errs, fmt.Errorf("storage: durability is %q: give sync or periodic", c.Durability))
	}
	if c.SyncInterval <= 0 {
		errs = append(errs, fmt.Errorf("storage: sync interval is %s: give more than 0", c.SyncInterval))
	}
	if c.Memory < 1<<20 {
		errs = append(errs, fmt.Errorf("storage: memory is %d bytes: give at least 1 MiB", c.Memory))
	}
	if c.DiskReserve < 0 {
		errs = append(errs, fmt.Errorf("storage: disk reserve is %d bytes: give 0 or more", c.DiskReserve))
	}
	if c.Committers < 0 || c.QueueItems < 1 || c.QueueBytes < 1 {
		errs = append(errs, errors.New("storage: committers and queue bounds must be positive"))
	}
	return errors.Join(errs...)
}

func (c Config) committers() int {
	if c.Committers > 0 {
		return c.Committers
	}
	return max(1, runtime.GOMAXPROCS(0)/4)
}

// Env is what an Engine uses of the node around it.
type Env struct {
	FS         FS
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Fatal hears of errors after which Pebble must not go on (a failed write of
	// the log): it ends the process, or, in the simulator, the node.
	Fatal func(error)
	// Simulated makes stores small and free of tickers, for virtual time.
	Simulated bool
}

func (e Env) validate() error {
	if e.FS == nil || e.Logger == nil || e.Registerer == nil || e.Fatal == nil {
		return errors.New("storage: Env.FS, Logger, Registerer and Fatal are needed")
	}
	return nil
}
