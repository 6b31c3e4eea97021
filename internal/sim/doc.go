// Package sim runs a whole cluster in one process and in virtual time
// (testing/synctest): the real nodes, over an in-memory network with faults, on
// in-memory disks that lose what was not synced when they crash, with clocks
// that are wrong.
//
// One seed is one schedule of faults (Plan), the same to the nanosecond in every
// run; what the nodes make of it differs a little from run to run, since the Go
// scheduler is not seeded. A run has a fault phase, then everything heals, every
// node crashes once more, and the checkers judge the recorded history:
//
//   - no acknowledged write is lost to reads with R+W > N, while faults last too;
//   - nothing is read that was never written, or that was refused;
//   - merged reads converge: at the end, all nodes answer a read of all replicas
//     alike;
//   - nothing that was deleted or has expired comes back, also after it was purged;
//   - quorum reads never go back; a client's writes are stamped in order;
//   - replicas become equal by themselves, at the larger of their purge points, and
//     all hints are replayed.
//
// scripts/planted.sh builds nodes with bugs, each of which a checker has to find.
//
// Writes whose outcome a client could not learn may have happened or not. The
// checkers are free functions over a History, tested on planted violations.
//
// Run, and repeat a seed:
//
//	go test ./internal/sim -run TestSeeds -seeds 10
//	go test ./internal/sim -run TestSeeds -seed 7 -v
//
// A Cluster owns the goroutines of its nodes, the driver of the faults and the
// clients, and waits for all of them, also for those of crashed boots, before
// the run ends. Nothing here sleeps or does I/O while holding a mutex: that
// would stop virtual time.
package sim
