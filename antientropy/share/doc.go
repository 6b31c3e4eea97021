// Package share says what of the data a node is a replica of, and shares with
// others, under a view of the catalog.
//
// What is compared and purged as one is a target: a range in a placement, which
// stands for a keyspace. All functions are pure, and cheap enough to be called for
// each range of a node.
package share
