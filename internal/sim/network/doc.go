// Package network is an in-memory network with faults, for clusters that run in
// one process and in virtual time. Hosts have IP addresses, listeners, stream
// connections with deadlines and flow control, and datagram sockets; links are
// directed and have delay, loss, duplication, bandwidth and partitions.
//
// Invariants:
//
//   - What TCP promises holds: a stream's bytes arrive in order or not at all.
//     A blocked link stalls streams and swallows datagrams; a dial over it waits
//     until its context ends. Datagrams may be lost, doubled and overtaken.
//   - A crashed host's sockets are dead for good, whoever still holds them; a
//     new boot has a new Host. Peers see a reset, or silence after a power loss.
//   - Each directed link draws from a generator of its own, so that the traffic
//     of one link does not change the fate of another's.
//   - One mutex guards everything and nobody waits while holding it: a goroutine
//     that slept with a mutex held would stop virtual time for good.
//
// The package starts no goroutines: readers wait for the arrival of what was
// written, on timers of their own.
package network
