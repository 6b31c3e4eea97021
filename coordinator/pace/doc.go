// Package pace decides how hard background work may go, by how long clients' requests
// take meanwhile: while ranges move, the slowest hundredth of requests may take a few
// times as long as without, and no longer.
//
// Time is cut into windows. Those in which nothing moves tell what is usual; during a
// change the pace follows how much longer than usual requests take, quickly down and
// slowly up. What is usual is forgotten after a while, since load changes: then work
// rests for one window, which tells anew. So it does now and then at the least pace:
// if requests are no faster without any work, that is what is usual.
//
// Invariants: Observe takes no lock and allocates nothing; the pace is never below
// Config.Least but for the windows in which work rests, of which two never follow each
// other, so a change goes on under any load; where few requests come, nothing is held
// back. No clock is read: the caller says when a window ends. There are no goroutines.
package pace
