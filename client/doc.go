// Package client is Dunlin's Go client, over HTTP.
//
// A Client knows several nodes and goes round them. A request that a node cannot
// serve now (no connection, 429, 503, 504) is tried on the next one, with growing
// pauses. That is safe because every write can be repeated: the client makes the
// ids of events, and fixes the timestamp of a key's write at its first attempt.
// The client carries the cluster's clock (Dunlin-Clock) from answer to request, so
// that what it writes later is later.
//
// A Client is safe for concurrent use and starts no goroutine but Load's, which
// ends before Load returns.
package client
