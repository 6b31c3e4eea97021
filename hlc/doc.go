// Package hlc is the hybrid logical clock that stamps writes.
//
// A timestamp is in microseconds since the Unix epoch. It follows physical time
// as long as that moves, and counts up from the largest value issued or seen
// when it does not (Kulkarni et al., "Logical Physical Clocks", 2014, folded into
// one number). Four rules make it safe for last-write-wins data:
//
//   - A clock issues nothing above its ceiling, which is persisted before it is
//     raised, and starts above the ceiling it finds: so a clock set back over a
//     restart never stamps below what it stamped before.
//   - A remote value further ahead of physical time than the maximum skew is never
//     merged: one broken clock cannot drag a cluster into the future.
//   - A physical clock that is set by more than the maximum skew is not followed
//     until peers confirm it (Wall): a stamp from the future cannot be taken back.
//   - Timestamps that clients choose are checked against the same bound and never
//     move the clock.
//
// A Clock is safe for concurrent use, lock-free, and starts no goroutine; physical
// time is passed in.
package hlc
