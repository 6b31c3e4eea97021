// Package dev runs a whole cluster on this machine, for trying and developing: its
// nodes are child processes, n1, n2, …, each with an address (or ports) of its own
// that follows from its number, so that another process finds them without being told.
//
// Run starts a cluster and stays with it. Add starts one more node of a cluster that
// another process runs, as a child of its own; Remove takes a node out of it, whoever
// its parent is. A node that has left moves out of the way: its directory becomes
// nK.left, so that the next start does not take it for a member.
//
// A fleet owns one goroutine for each child, which ends when the child does.
package dev
