// Package filling reads leaves into buckets, in pieces, and keeps those that were read for
// peers between their questions.
//
// Places are few, since buckets are large. A peer has one session at a time with this
// node, so it has one place. A Keeper is safe for concurrent use; what it has handed out
// belongs to who took it.
package filling
