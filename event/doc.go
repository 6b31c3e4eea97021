// Package event is what the event store adds to rows: event ids, the strict JSON
// of events, and their times.
//
// An event's id is a timeuuid (RFC 4122 version 1) whose time is exactly the
// event's, to 100 ns. Of its other 62 free bits the first 32 are a counter and the
// last 30 the incarnation of whoever made the id, so that events of equal times
// keep the order in which they were made and nothing unique is read out of time
// alone. Cassandra compares these bytes as signed ones; the counter is stored so
// that this order is the counter's.
//
// The JSON of events is read by a scanner of our own that allocates nothing and
// keeps `data` byte for byte: on the ingest path encoding/json costs more than
// everything else together.
//
// The package is pure, but for the counter of IDs, and starts no goroutine.
package event
