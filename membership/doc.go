// Package membership tells which nodes of the cluster are alive, and spreads
// one small versioned fact per node (which catalog it has, and where it is). It is
// an adapter of hashicorp/memberlist: SWIM probing with the Lifeguard refinements,
// gossip over datagrams, push/pull over streams.
//
// Invariants:
//
//   - Alive is not owner: nothing here moves data or changes the ring. The nodes
//     to be in touch with come from the catalog (SetPeers), never from gossip.
//   - Everything on the wire is encrypted with the catalog's gossip key and
//     labelled with the cluster's UUID. Foreign and garbage packets and streams
//     are refused by this package, before memberlist decodes anything; they are
//     counted, and logged at a bounded rate.
//   - Callbacks run on a goroutine of Run, never under memberlist's locks, and
//     may block without harming failure detection.
//
// Run owns every goroutine started here and returns when they have ended.
// memberlist does not wait for its own (an unanswered probe ends within seconds
// of Shutdown), but after Run they hold no socket and call nothing.
package membership
