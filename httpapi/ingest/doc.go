// Package ingest stores NDJSON bodies of any length: an event a line, written in
// batches, several of which are on their way at a time.
//
// Invariants:
//   - Memory is constant: two chunks of the body, one line that spans chunks, and a
//     bounded number of batches, of a request and of all requests.
//   - Lines are answered in their order, each when its level is reached or missed. A
//     bad line fails alone.
//   - What cannot be stored is not read: while this node or replicas have no room,
//     the body waits.
//   - A client that asked for answers and does not read them is cut off; until then
//     its body waits too.
//
// Goroutines: a request runs on its caller's, and has two more, which read the body
// and write the answers, and one for each batch on its way. Serve returns after
// all of them.
package ingest
