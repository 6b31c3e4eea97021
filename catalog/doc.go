// Package catalog keeps the one document that the nodes agree on: who the members
// are, who owns which range, which tables exist.
//
// Document v+1 is decided by single-decree Paxos among the voters of document v:
// there is no leader, no log and no election, and a majority of voters is needed to
// change the document, never to serve by it. Any member may propose; proposers
// that meet back off at random. Invariants:
//
//   - A node adopts only decided documents, in rising order of (generation,
//     version), and in this order: durable, OnAdopt, visible in View.
//   - What an acceptor answers is durable before it is answered. An acceptor that
//     has the document asked about, or a later one, answers with it.
//   - The voters of v decide v+1 alone, also when v+1 adds voters: a joiner that
//     dies while it is being added decides nothing.
//   - Generations alone come without the voters: a recovery follows the newest document
//     of all survivors, and the survivor with the smallest id adopts it first, one for
//     each generation. Whom it gives up never adopts it.
//   - Where a member is the transport finds out; the recorded address is where to look
//     for one that has not said so, and belongs to the member that answers there.
//   - A node that was joining when it stopped is no member until one confirms it.
//   - Who shows an older store identity, boot number or clock ceiling than it once
//     showed is refused: a node started from an older copy of its directory may
//     have forgotten what it promised and acknowledged.
//
// A Catalog's methods are safe for concurrent use. Nothing does I/O or waits while
// it holds a mutex: long sections are guarded by channels of one slot. Run owns the
// background work (learning newer documents, telling others of decided ones);
// goroutines started by any other method have ended when it returns.
package catalog
