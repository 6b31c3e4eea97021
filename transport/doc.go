// Package transport carries everything that nodes say to each other, except
// gossip. It is the only user of gRPC.
//
// Each node dials every peer once and keeps one bidirectional stream open on
// that connection (Exchange): its requests travel there, and the peer's answers
// come back on the same stream, so a pair of nodes has two streams, one for each
// direction of asking. Requests of all callers are coalesced: a caller encodes
// into the peer's current frame under a mutex, the sender wakes, yields once and
// drains; there is no added delay and no message per mutation (31 µs of CPU
// against 2). Other calls are unary: those of the catalog (Control) on a connection
// of their own that is dialled by address, those of anti-entropy (ControlTo) on
// one that is kept for each peer. Another for bulk streams is reserved for range
// movement.
//
// Invariants:
//   - A Sink hears exactly once of each Apply, never while a lock of this package
//     is held: by the answer, at the deadline (to the next 10 ms), when the
//     connection breaks, or at once when the request is refused here.
//   - A slot is not reused before its answer has arrived or its stream has ended, and
//     its id carries a generation: a late or repeated answer cannot complete
//     another request. So a hung peer fills its own table and then fails fast.
//   - Everything has a bound: slots and bytes per peer, work and answers per
//     session, running and waiting reads, control calls, connections, connections
//     that have not shown the HTTP/2 preface.
//   - Both ends check the other's Hello before the first request. A node has one
//     stream to this one, and none once it is no peer any more.
//   - A peer is who its Hello says, wherever it is. So hellos, and others, may tell where
//     to dial it; what is wrong of that costs a dial, and is tried in turns with what
//     SetPeers gave.
//   - No request is retried here; writes are idempotent and the coordinator decides.
//
// Messages and frames are in package wire, the table of unanswered requests in
// package slot, the check of the HTTP/2 preface in package gate, the kept
// connection in package keep, gRPC in package rpc, who has the one stream of a node in
// package seat.
//
// Goroutines: Run owns all of them and returns after the last has ended: the gate
// that accepts connections, the gRPC server, one sender and one receiver for each
// connection, the sweeper of deadlines (it has no timer while no request is
// open), and the readers that execute Read and Scan. Nothing runs before Run.
package transport
