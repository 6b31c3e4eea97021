// Package tree is what anti-entropy compares leaves by: walks through a leaf in
// canonical form, and the buckets that its keys fall into.
//
// A walk is of one moment, heads included. A bucket is a pure function of a key,
// and its sum of the digests of its keys in any order. The package starts no
// goroutine; a Walker belongs to one at a time.
package tree
