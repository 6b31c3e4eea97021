// Package rebalance carries changes of the layout out: it moves data to where it
// belongs, and takes a change from phase to phase as soon as that is safe.
//
// Moving data is making replicas equal, which anti-entropy does: a replica that is new
// to a range is complete when it was verified with those that lose it (or, if more come
// than go, because some are dead or none is displaced, with all that have it) in a
// session that began when both served by the change. From then on it holds everything
// that was acknowledged before; what was written since has reached it by itself.
//
// Invariants:
//   - A change flips only when every new replica is complete, and finishes only when
//     every replica that loses a range refuses requests that do not know of the flip;
//     in place of a dead one, all others of its range have to; and when every new one
//     that is alive was compared with those again, which may have shown meanwhile what
//     was not acknowledged.
//   - Nodes work for a change no harder than clients feel, here and where ranges come
//     from.
//   - Whoever drives a change may die at any moment: each step is decided by the
//     catalog, and the next driver finds out by asking what is left to do.
//   - Nobody drives by what it remembers: every condition is asked for before the step.
//   - A node that joins and does not answer for long has its change aborted before the
//     flip; after it, it is a member like others that are down.
//   - What a node does not hold by its catalog is removed in the background.
//
// The package starts no goroutine: steps run on their caller's.
package rebalance
