package node

import (
	"github.com/dunlindb/dunlin/antientropy"
	"github.com/dunlindb/dunlin/catalog"
	"github.com/dunlindb/dunlin/coordinator"
	"github.com/dunlindb/dunlin/hinted"
	"github.com/dunlindb/dunlin/httpapi"
	"github.com/dunlindb/dunlin/membership"
	"github.com/dunlindb/dunlin/mend"
	"github.com/dunlindb/dunlin/rebalance"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/transport"
)

// The memory budget in sixteenths: stores live off the Go heap (with cgo), most of
// the rest is for the heap: frames, requests in flight, gossip, what is compared.
const (
	budgetParts   = 16
	storageParts  = 8 // memtables and block cache
	inFlightParts = 1 // writes admitted and not answered; as much again for stragglers
	otherParts    = 1 // what neither knows of: stacks, the C heap's own
)

// HeapLimit is the part of the memory budget that the Go heap may use: what
// GOMEMLIMIT should be.
func (c Config) HeapLimit() int64 {
	return c.Storage.MemoryBudget / budgetParts * (budgetParts - storageParts - otherParts)
}

func (c Config) storage() storage.Config {
	s := storage.DefaultConfig()
	s.Dir = c.DataDir
	s.Durability = storage.Durability(c.Storage.Durability)
	s.SyncInterval = c.Storage.SyncInterval
	s.Memory = c.Storage.MemoryBudget / budgetParts * storageParts
	s.Committers = c.Storage.Committers
	s.QueueBytes = int(c.inFlightBytes())
	return s
}

func (c Config) inFlightBytes() int64 {
	if c.Limits.InFlightBytes > 0 {
		return c.Limits.InFlightBytes
	}
	return c.Storage.MemoryBudget / budgetParts * inFlightParts
}

func (c Config) coordinator() coordinator.Config {
	s := coordinator.DefaultConfig()
	s.Pace.Factor = float64(c.Rebalance.LatencyPercent) / 100
	s.WriteTimeout, s.ReadTimeout = c.Timeouts.Write, c.Timeouts.Read
	s.InFlightBytes, s.StragglerBytes = c.inFlightBytes(), c.inFlightBytes()
	s.RowBytes = c.rowBytes()
	s.DrainTimeout = c.StopTimeout
	return s
}

// rowBytes bounds one row: the largest event or value, with its key and names.
func (c Config) rowBytes() int {
	return max(c.Limits.EventBytes, c.Limits.ValueBytes) + 2*c.Limits.KeyBytes + 64<<10
}

func (c Config) transport() transport.Config {
	s := transport.DefaultConfig()
	s.RequestBytes = max(s.RequestBytes, c.rowBytes()+64<<10)
	s.QueueBytes = max(s.QueueBytes, 2*s.RequestBytes)
	return s
}

func (c Config) catalog() catalog.Config {
	s := catalog.DefaultConfig()
	s.Name, s.ReplicationFactor = c.ClusterName, c.ReplicationFactor
	s.Zone, s.Datacenter, s.Together = c.Zone, c.Datacenter, c.JoinCount
	s.Addresses = ring.Addresses{
		Internode: c.advertiseAddress(c.Listen.InternodePort),
		Gossip:    c.advertiseAddress(c.Listen.GossipPort),
		HTTP:      c.advertiseAddress(c.Listen.HTTPPort),
		Admin:     c.advertiseAddress(c.Listen.AdminPort),
	}
	return s
}

func (c Config) hints() hinted.Config {
	s := hinted.DefaultConfig()
	s.MaxAge, s.TargetBytes, s.TotalBytes, s.ReplayRate = c.Hints.MaxAge, c.Hints.TargetBytes, c.Hints.TotalBytes, c.Hints.ReplayRate
	return s
}

func (c Config) antientropy() antientropy.Config {
	s := antientropy.DefaultConfig()
	s.Share = float64(c.AntiEntropy.CPUPercent) / 100
	s.HurryShare = max(s.HurryShare, s.Share)
	s.Purge.Lag, s.Purge.Pace, s.Purge.Skew = c.AntiEntropy.PurgeLag, c.AntiEntropy.PurgePace, c.Clock.MaxSkew
	s.Purge.Every = min(s.Purge.Every, s.Purge.Lag/5)
	return s
}

func (c Config) scrub() mend.Config {
	s := mend.DefaultConfig()
	s.Pass = c.AntiEntropy.ScrubPass
	return s
}

func (c Config) rebalance() rebalance.Config {
	s := rebalance.DefaultConfig()
	s.GiveUp, s.Stream.BytesPerSecond = c.Rebalance.GiveUp, int(c.Rebalance.BytesPerSecond)
	return s
}

func (c Config) membership() membership.Config {
	s := membership.DefaultConfig()
	s.Listen = c.listenAddress(c.Listen.GossipPort)
	s.Advertise = c.advertiseAddress(c.Listen.GossipPort)
	return s
}

func (c Config) httpapi() httpapi.Config {
	s := httpapi.DefaultConfig()
	s.Hosts = append([]string{c.Listen.Host, c.advertiseHost()}, c.HTTPHosts...)
	s.Origins = c.HTTPOrigins
	s.EventBytes, s.ValueBytes, s.KeyBytes = c.Limits.EventBytes, c.Limits.ValueBytes, c.Limits.KeyBytes
	s.MaxFuture, s.WriteTimeout, s.StopTimeout = c.Limits.EventsMaxFuture, c.Timeouts.Write, c.StopTimeout
	return s
}
