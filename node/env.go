package node

import (
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/dunlindb/dunlin/storage"
)

// Env is the world around a node: the operating system's in production, the
// simulator's in tests. Every field is needed.
type Env struct {
	Network  Network
	FS       storage.FS
	Physical func() time.Time // the wall clock
	Entropy  io.Reader        // for UUIDs and keys
	Seed     uint64           // for everything that spreads load or retries
	Logger   *slog.Logger
	Registry *prometheus.Registry
	// Fatal hears that a store must not go on: it ends the process, or crashes
	// the simulated node.
	Fatal func(error)
	// Simulated keeps tickers and large buffers out, for virtual time.
	Simulated bool
}

// SystemEnv is the operating system's world.
func SystemEnv(logger *slog.Logger) (Env, error) {
	var seed [8]byte
	if _, err := crand.Read(seed[:]); err != nil {
		return Env{}, fmt.Errorf("node: draw a seed: %w", err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return Env{
		Network: SystemNetwork{}, FS: storage.DefaultFS(), Physical: time.Now,
		Entropy: crand.Reader, Seed: binary.LittleEndian.Uint64(seed[:]),
		Logger: logger, Registry: registry,
		Fatal: func(err error) {
			logger.Error("the store has failed and must not go on; the node stops here", "error", err)
			os.Exit(70) // EX_SOFTWARE: nothing may be acknowledged any more
		},
	}, nil
}

func (e Env) validate() error {
	if e.Network == nil || e.FS == nil || e.Physical == nil || e.Entropy == nil || e.Logger == nil || e.Registry == nil || e.Fatal == nil {
		return errors.New("node: every field of Env is needed")
	}
	return nil
}

// random makes an independent source of randomness for one purpose.
func (e Env) random(purpose uint64) *rand.Rand {
	return rand.New(rand.NewPCG(e.Seed, purpose))
}
