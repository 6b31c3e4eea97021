// Package document is the catalog's document: what all nodes agree on, and what may
// follow from it.
//
// A Document says who is a member, who holds what, and which tables there are.
// Changes are functions from one document to the next; CheckSuccessor says whether a
// document may follow another, and acceptors ask it before they accept one, so that no
// proposer can skip a step of a change or forget who was removed.
//
// Everything here is pure: no I/O, no clock, no goroutine.
package document
