// Package mend finds data on this node's disk that cannot be read any more, and
// has it filled again from other replicas.
//
// Scrub reads all rows again and again, slowly, so that data that rots is found
// before it is wanted: in key order, with a position that survives restarts, at a
// pace that makes one pass in Config.Pass. What cannot be read is reported, with its
// range, and the pass goes on behind that leaf. Blocks that are in the block cache
// are not read from the disk; a later pass meets them.
//
// Rebuild takes the ranges in quarantine (package replica). As soon as all other
// replicas of one answer, it is dropped, readable or not: what was lost may have
// hidden what is left, and the others may have purged since then. Anti-entropy fills
// it from them, and when it was verified with every one of them, in sessions begun
// after the drop, it is read again. Bytes that are whole but cannot be decoded are
// kept for a version that can. A range without another replica is not dropped: what
// can be read of it is all there is.
//
// The package starts no goroutine: both Steps run on their callers'.
package mend
