// Package rows turns events into rows of dunlin.events and back. It is the one
// place that knows how an event lies in its table: which partition a stream is,
// which columns an append writes, and which deletion a delete is.
//
// Every write is stamped by the coordinator's clock, whatever the time of the
// event, so that events which are deleted and written again show again.
//
// The package starts no goroutine. A Maker belongs to one.
package rows
