package sim

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/dunlindb/dunlin/node"
)

// LaunchNode opens a real node on a simulated machine, as shipped but for its
// addresses, and small.
func LaunchNode(e Env) (Node, error) { return node.Open(nodeConfig(e), nodeEnv(e)) }

func nodeConfig(e Env) node.Config {
	cfg := node.DefaultConfig()
	cfg.ClusterName = "sim"
	cfg.DataDir = "/data"
	cfg.Listen.Host = e.Host.Address().String()
	cfg.Insecure = true // its addresses are not loopback
	cfg.Bootstrap = e.Bootstrap
	for _, a := range e.Join {
		cfg.Join = append(cfg.Join, netip.AddrPortFrom(a, internodePort).String())
	}
	cfg.Zone = [...]string{"z1", "z2", "z3"}[e.Index%3]
	cfg.Clock.MaxSkew = e.MaxSkew
	cfg.Storage.Committers = 1
	cfg.Storage.MemoryBudget = 64 << 20
	cfg.AntiEntropy.PurgeLag, cfg.AntiEntropy.PurgePace = time.Minute, 2*time.Minute // so that an hour sees much of it
	cfg.Rebalance.GiveUp = 2 * time.Minute
	return cfg
}

func nodeEnv(e Env) node.Env {
	var key [32]byte
	for i := 0; i < len(key); i += 8 {
		binary.LittleEndian.PutUint64(key[i:], e.Rand.Uint64())
	}
	return node.Env{
		Network: e.Host, FS: e.FS, Physical: e.Clock,
		Entropy: rand.NewChaCha8(key), Seed: e.Rand.Uint64(),
		Logger: e.Logger, Registry: e.Registry, Fatal: e.Fatal, Simulated: true,
	}
}
