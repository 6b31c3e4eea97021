// Package limits is what the operating system lets a store do, by system.
//
// The number of files that may be open bounds Pebble's table cache; a lock that
// another process holds tells a data directory in use from a damaged one. Where a
// system cannot be asked, the answers are cautious.
package limits
