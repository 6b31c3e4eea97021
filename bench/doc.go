// Package bench generates load and measures what clients see.
//
// Run drives a Target with a number of workers for a length of time. With a rate
// the load is open: every operation has a moment at which it is due, and its
// latency counts from that moment, so that a stall is charged to every operation
// that it held up (no coordinated omission; G. Tene, "How NOT to Measure
// Latency"). Without a rate each worker sends as soon as it has its answer; the
// same correction is then applied to the recorded distribution, with the median
// as the interval at which a worker would have sent.
//
// Run owns its workers and waits for them. Randomness is seeded, so that two
// runs touch the same streams in the same order.
package bench
