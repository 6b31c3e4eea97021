// Package hinted keeps mutation groups for replicas that missed them, and replays
// them when those replicas are back: hinted handoff.
//
// There is a durable queue for each class and target, in the order of keeping.
// Plain hints (Keep) help convergence: they are written without a sync of their
// own, bounded by bytes and age, and the oldest are dropped over a bound. Counted
// hints (Hold) made an acknowledgement true: they are synced before their sink
// hears OK and never dropped by bytes or age; when there is no room for them, new
// ones are refused. A queue is cut into segments, spans of its keys with a summary
// of what they hold, so that dropping the oldest is one range deletion, says
// exactly which ranges lost hints, and needs no reading; and so that opening reads
// only the first and the last segment of each queue.
//
// Replay reads a chunk of a queue's head, stamps it with the present catalog
// version, sends it in order, waits for all verdicts, and deletes what is done up
// to the first hint that is not. A crash replays at most a chunk again, which is
// harmless: every apply is idempotent. Plain rows whose range has changed replicas
// since they were kept are dropped, even if the target holds it (again): what deletes
// them may have been purged meanwhile, which counted hints hold back. Counted rows
// whose range the target has lost, or whose target a change has given up, go to all
// replicas that the range has now and that are waited for.
//
// Invariants:
//   - A counted hint whose sink heard OK is on disk until every replica that has to
//     has acknowledged it (or refused it as fenced, or its table is gone). The one
//     exception is damage on disk: such a segment is kept, reported and skipped.
//   - No counted hint is held, or will be, with born at or below what Publish
//     returned, restarts included.
//   - Plain hints that are dropped are counted by reason, and Env.OnDrop hears of
//     their ranges.
//   - What is deleted is a prefix of a segment, or the whole of it.
//   - Keep and Hold never block and take no I/O; what waits for the disk is bounded
//     for each class.
//
// Which rows go where (route), what a chunk's verdicts mean (settle), what is over
// a bound (pick) and the pace are plain values and functions apart from the I/O.
//
// Goroutines: Run owns one that writes, one that schedules, and one for each queue
// that is being replayed; it returns when all have ended. Callbacks of Env are
// called without locks.
package hinted
