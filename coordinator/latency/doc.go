// Package latency remembers how fast replicas answered reads and scans: a moving
// average by replica, so that the nearest is asked first, and a histogram by table
// and operation, so that a spare is asked after the 99th percentile (hedging, as in
// Dean and Barroso, "The Tail at Scale", 2013).
//
// Invariants: memory is bounded by the number of replicas and tables; old
// observations fade (averages after seconds, histograms by halving); a replica
// that was slow once is tried again; hedging does not feed back on its own delay.
//
// The package has no goroutines.
package latency
