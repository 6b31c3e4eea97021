// Package pacing keeps Pebble from compacting a damaged file again and again.
//
// Pebble tries a compaction that has failed at once again, which costs a core for
// as long as the damage is in the tree. A Scheduler is Pebble's own, which limits
// how many compactions run, with a pause after each failure: the failed one keeps
// its place meanwhile, and holds no lock.
//
// A Scheduler belongs to one store. Its one goroutine, which looks every tenth of a
// second whether more compactions may run, ends when the store unregisters.
package pacing
