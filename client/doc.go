// Package client is Dunlin's Go client, over HTTP.
//
// A Client knows several nodes and goes round them. A request that a node cannot
// serve now (no connection, half an answer, 429, 503, 504) is tried on the next
// one, with growing pauses and as Retry-After asks. That is safe because every
// write can be repeated: the client makes the ids of events, and fixes the
// timestamps of other writes at their first attempt. The client carries the
// cluster's clock (Dunlin-Clock) from answer to request, so that what it writes
// later is later.
//
// A Client is safe for concurrent use. It starts goroutines only in Load, which
// waits for them; the one that calls Load's source ends as soon as the source
// returns.
package client
